"""The engine of an encoder base: embed → body → heads, rows of all its endpoints in one batch."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from langmod.encoding import Encoded
from langmod.errors import LangmodError
from langmod.tasks import TASKS, Example, HeadTask, Text
from langmod.tasks.fill_mask import candidates_needed, mask_positions
from service.bank import Pinned, Stack
from service.engine import Engine, Json, Outcome, Prepared, Spoken
from service.lanes import padded
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
        """Its tokens."""
        return len(self.example.encoded)

    @property
    def encoded(self) -> Encoded:
        """Its tokens."""
        return self.example.encoded


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
            encoded = TASKS[kind].encode(self.encoder, text)
            example = Example(text, encoded, self.encoder, labels, top_k)
            row = EncoderRow(kind, own.tag, modules_of_row, example)
            return Prepared(row, lambda output: _answer(row, own, output))

        return prepare

    def execute(self, rows: list[EncoderRow], pinned: Pinned) -> Sequence[Any]:
        """Hidden states for all rows, then each kind's head for its own rows."""
        feeds = self._inputs(rows) | {"slots": pinned.slots}
        words = self.graphs["embed"].run(feeds, keep=("words",))
        hidden = self.graphs["body"].run(feeds | words, pinned.tables)["hidden"]  # [B, T, D]
        outputs: list[Any] = [None] * len(rows)
        for kind in {row.kind for row in rows}:
            places = [place for place, row in enumerate(rows) if row.kind == kind]
            some = Part([rows[place] for place in places], hidden[places], pinned.slots[places])
            for place, output in zip(places, self._head(kind, some, pinned), strict=True):
                outputs[place] = output
        return outputs

    def _inputs(self, rows: Sequence[EncoderRow]) -> dict[str, Array]:
        longest = max(row.length for row in rows)
        shape = (len(rows), min(padded(longest), self.base.max_tokens))  # [B, T]
        feeds = {
            "token_ids": np.full(shape, self.base.pad_id, np.int64),
            "token_types": np.zeros(shape, np.int64),
            "mask": np.zeros(shape, np.int64),
            "positions": np.broadcast_to(np.arange(shape[1]) + self.base.first_position, shape),
        }
        for at, row in enumerate(rows):
            feeds["token_ids"][at, : row.length] = row.encoded.token_ids
            feeds["token_types"][at, : row.length] = row.encoded.type_ids
            feeds["mask"][at, : row.length] = 1
        return feeds

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
        columns = [mask_positions(row.encoded, self.encoder) for row in part.rows]
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
        """``[B, T]``: the first token, or the mean of a row's tokens, as its module was trained."""
        pool = np.zeros(self.hidden.shape[:2], np.float32)
        for at, row in enumerate(self.rows):
            first = row.stack.task is None or row.stack.task.manifest.pooling == "first"
            pool[at, : 1 if first else row.length] = 1 if first else 1 / row.length
        return pool

    def trimmed(self, values: Array) -> list[Array]:
        """``[B, T, …]`` row by row without the padding."""
        return [value[: row.length] for row, value in zip(self.rows, values, strict=True)]


def _answer(row: EncoderRow, spoken: Spoken, output: Mapping[str, Array]) -> Json:
    if not all(np.isfinite(value).all() for value in output.values()):
        names = ", ".join(row.stack.keys) or "the base"
        raise LangmodError(f"{names} gave numbers that are not finite for this text")
    answer = TASKS[row.kind].decode(output, row.example)
    about = {"language": spoken.tag, "language_probability": spoken.probability}
    return {**answer, **about, "modules": row.stack.keys}
