"""The engine of an encoder base: embed → body → heads, rows of all its endpoints in one batch."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from langmod.encoding import Encoded, IntArray
from langmod.errors import LangmodError
from langmod.tasks import TASKS, Example, HeadTask, Text
from langmod.tasks.fill_mask import candidates_needed, mask_positions
from service.bank import Pinned, Stack, prompt_of
from service.engine import Engine, Json, Outcome, Prepared, Spoken
from service.rows import Shape, batch_shape, length_of, mask_of, tokens_of, words_of
from service.schemas import ClassifyRequest, TextsRequest
from service.session import Array
from service.stacks import Wanted


@dataclass(frozen=True, eq=False)
class EncoderRow:
    """One text of one request, ready to run."""

    kind: str
    """Which task's head it goes through."""
    language: str
    stack: Stack
    example: Example

    @property
    def length(self) -> int:
        """Positions that it takes: its modules' soft prompts and its tokens."""
        return length_of(self)

    @property
    def encoded(self) -> Encoded:
        """Its tokens."""
        return self.example.encoded

    @property
    def token_ids(self) -> IntArray:
        """``[T]`` without padding."""
        return self.example.encoded.token_ids

    @property
    def prompt(self) -> Array:
        """The vectors in front of its tokens, ``[P, D]``."""
        return self.stack.prompt

    @property
    def pooled(self) -> slice:
        """The positions whose mean its classification head reads, as its module was trained."""
        tokens, task = tokens_of(self), self.stack.task
        pooling = "first" if task is None else task.manifest.pooling
        if pooling == "mean":
            return tokens
        before = 0 if pooling == "first" or task is None else len(prompt_of(task))
        return slice(tokens.start - before, tokens.start - before + 1)


class EncoderEngine(Engine[EncoderRow]):
    """Serves fill_mask, embed and every task with a head."""

    async def ask(self, kind: str, request: TextsRequest | ClassifyRequest) -> list[Outcome]:
        """Answers a request of one kind of task; a fault of one text stands in its place.

        Raises:
            LangmodError: what is wrong with the request as a whole.
        """
        prepare = await asyncio.to_thread(self._plan, kind, request)
        return await self.answer(kind, request.texts, prepare)

    def _plan(
        self, kind: str, request: TextsRequest | ClassifyRequest
    ) -> Callable[[int, Text], Prepared[EncoderRow]]:
        modules = tuple(request.modules)
        language = request.language or self.resolver.named_language(modules)
        spoken = self.speak(request.texts, language)
        task, top_k = getattr(request, "task", None), getattr(request, "top_k", 1)
        head = kind if isinstance(TASKS[kind], HeadTask) else None

        @cache
        def stack(tag: str) -> Stack:
            return self.resolver.stack(Wanted(tag, task, head, modules=modules))

        if language is not None:
            stack(spoken[0].tag)

        def prepare(place: int, text: Text) -> Prepared[EncoderRow]:
            own = spoken[place]
            modules_of_row = stack(own.tag)
            labels = modules_of_row.task.manifest.labels if modules_of_row.task else ()
            encoder = self.encoder.beside(len(modules_of_row.prompt))
            encoded = TASKS[kind].encode(encoder, text)
            example = Example(text, encoded, self.encoder, labels, top_k)
            row = EncoderRow(kind, own.tag, modules_of_row, example)
            return Prepared(row, lambda output: _answer(row, own, output))

        return prepare

    def execute(self, rows: list[EncoderRow], pinned: Pinned) -> Sequence[Any]:
        """Hidden states for all rows, then each kind's head for its own rows."""
        shape = batch_shape(rows, self.base)
        feeds = {**self._inputs(rows, shape), "words": words_of(rows, shape, self.graphs),
                 "slots": pinned.slots}  # fmt: skip
        hidden = self.graphs["body"].run(feeds, pinned.tables)["hidden"]  # [B, T, D]
        outputs: list[Any] = [None] * len(rows)
        for kind in {row.kind for row in rows}:
            places = [place for place, row in enumerate(rows) if row.kind == kind]
            some = Part([rows[place] for place in places], hidden[places], pinned.slots[places])
            for place, output in zip(places, self._head(kind, some, pinned), strict=True):
                outputs[place] = output
        return outputs

    def _inputs(self, rows: Sequence[EncoderRow], shape: Shape) -> dict[str, Array]:
        types = np.zeros(shape, np.int64)
        for at, row in enumerate(rows):
            types[at, tokens_of(row)] = row.encoded.type_ids
        positions = np.broadcast_to(np.arange(shape[1]) + self.base.first_position, shape)
        return {"mask": mask_of(rows, shape), "positions": positions, "token_types": types}

    def _head(self, kind: str, part: "Part", pinned: Pinned) -> list[Mapping[str, Array]]:
        if kind == "embed":
            return [{"hidden": each} for each in part.trimmed(part.hidden)]
        if kind == "fill_mask":
            return self._fill_masks(part, pinned)
        feeds = {"hidden": part.hidden, "pool": part.pool, "slots": part.slots}
        logits = self.graphs[kind].run(feeds, pinned.tables)["logits"]  # [B, C] or [B, T, C]
        own = part.trimmed(logits) if logits.ndim == 3 else list(logits)
        return [
            {"logits": each[..., : len(row.example.labels)]}
            for row, each in zip(part.rows, own, strict=True)
        ]

    def _fill_masks(self, part: "Part", pinned: Pinned) -> list[Mapping[str, Array]]:
        columns = [mask_positions(row.encoded, self.encoder) + len(row.prompt) for row in part.rows]
        counts = [len(each) for each in columns]
        k = max(candidates_needed(self.encoder, row.example.top_k) for row in part.rows)
        rows = np.repeat(np.arange(len(counts)), counts)  # [N]
        feeds = {
            "hidden": part.hidden,
            "rows": rows,
            "slots": part.slots[rows],
            "columns": np.concatenate(columns),  # [N]
            "k": np.array([k], np.int64),
        }
        found = self.graphs["fill_mask"].run(feeds, pinned.tables)  # [N, K] each
        cuts = np.cumsum(counts)[:-1]
        each = zip(*(np.split(found[name], cuts) for name in ("scores", "tokens")), strict=True)
        return [{"scores": scores, "tokens": tokens} for scores, tokens in each]


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of a batch that go through one head."""

    rows: list[EncoderRow]
    hidden: Array
    """``[B, T, D]``"""
    slots: Array
    """``[B, 2]``"""

    @property
    def pool(self) -> Array:
        """``[B, T]``: weights of the positions that each row's head reads."""
        pool = np.zeros(self.hidden.shape[:2], np.float32)
        for at, row in enumerate(self.rows):
            pool[at, row.pooled] = 1 / (row.pooled.stop - row.pooled.start)
        return pool

    def trimmed(self, values: Array) -> list[Array]:
        """``[B, T, …]`` row by row, the tokens alone."""
        return [value[tokens_of(row)] for row, value in zip(self.rows, values, strict=True)]


def _answer(row: EncoderRow, spoken: Spoken, output: Mapping[str, Array]) -> Json:
    if not all(np.isfinite(value).all() for value in output.values()):
        names = ", ".join(row.stack.keys) or "the base"
        raise LangmodError(f"{names} gave numbers that are not finite for this text")
    answer = TASKS[row.kind].decode(output, row.example)
    about = {"language": spoken.tag, "language_probability": spoken.probability}
    return {**answer, **about, "modules": row.stack.keys}
