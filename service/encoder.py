"""The engine of an encoder base: embed → body → heads, rows of all its endpoints in one batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort

from langmod.encoding import Encoded, IntArray
from langmod.errors import LangmodError
from langmod.langid import LanguageIdentifier
from langmod.tasks import TASKS, Example, HeadTask, Text
from langmod.tasks.embed import prefixed
from langmod.tasks.fill_mask import candidates_needed, mask_positions
from service.bank import Pinned, Stack, prompt_of
from service.engine import Engine, Json, Outcome, Prepared, Spoken
from service.rows import Shape, Value, batch_shape, length_of, mask_of, tokens_of, words_of
from service.schemas import ClassifyRequest, TextsRequest
from service.session import Array
from service.settings import Settings
from service.stacks import Wanted
from service.vocabularies import OwnVocabulary, Vocabularies

Key = TypeVar("Key")


@dataclass(frozen=True, eq=False)
class EncoderRow:
    """One text of one request, ready to run."""

    kind: str
    """Which task's head it goes through."""
    language: str
    stack: Stack
    example: Example
    own: OwnVocabulary | None = None
    """The words of its language module, where that does not read the base's."""

    @property
    def head(self) -> tuple[str, OwnVocabulary | None]:
        """What it shares with the rows that run through one head together."""
        return self.kind, self.own if self.kind == "fill_mask" else None

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

    def __init__(
        self, folder: Path, settings: Settings, identifier: LanguageIdentifier | None
    ) -> None:
        super().__init__(folder, settings, identifier)
        self._vocabularies = Vocabularies(self.graphs, settings.provider)

    async def ask(self, kind: str, request: TextsRequest | ClassifyRequest) -> list[Outcome]:
        """Answers a request of one kind of task; a fault of one text stands in its place.

        Raises:
            LangmodError: what is wrong with the request as a whole.
        """
        return await self.answer(kind, request.texts, lambda: self._plan(kind, request))

    def _plan(
        self, kind: str, request: TextsRequest | ClassifyRequest
    ) -> Callable[[int, Text], Prepared[EncoderRow]]:
        modules = tuple(request.modules)
        language = request.language or self.resolver.named_language(modules)
        spoken = self.speak(request.texts, language)
        task, top_k = getattr(request, "task", None), getattr(request, "top_k", 1)
        purpose = getattr(request, "kind", None)
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
            words = self._vocabularies.of(modules_of_row.language)
            encoder = words.encoder if words else self.encoder
            read = prefixed(text, purpose, self.base) if kind == "embed" else text
            encoded = TASKS[kind].encode(encoder.beside(len(modules_of_row.prompt)), read)
            example = Example(text, encoded, encoder, labels, top_k)
            row = EncoderRow(kind, own.tag, modules_of_row, example, words)
            return Prepared(row, lambda output: _answer(row, own, output))

        return prepare

    def execute(self, rows: list[EncoderRow], pinned: Pinned) -> Sequence[Any]:
        """Hidden states for all rows, then each kind's head for its own rows."""
        shape = batch_shape(rows, self.base)
        feeds = {**self._inputs(rows, shape), "words": self._words(rows, shape),
                 "slots": pinned.slots}  # fmt: skip
        layers = self.graphs["body"].run(feeds, pinned.tables)
        hidden = layers.pop("hidden")  # [B, T, D]
        _leave(rows, hidden)
        outputs: list[Any] = [None] * len(rows)
        for (kind, _), places in _grouped([row.head for row in rows]).items():
            lower = (
                {name: each[places] for name, each in layers.items()} if kind == "fill_mask" else {}
            )
            some = Part(
                [rows[place] for place in places], hidden[places], pinned.slots[places], lower
            )
            for place, output in zip(places, self._head(kind, some, pinned), strict=True):
                outputs[place] = output
        return outputs

    def _words(self, rows: list[EncoderRow], shape: Shape) -> Value:
        """What the body reads, ``[B, T, D]``, each row's from its own vocabulary."""
        groups = _grouped([row.own for row in rows])
        if list(groups) == [None]:
            return words_of(rows, shape, self.graphs)
        words = np.zeros((*shape, self.base.width), np.float32)
        for own, places in groups.items():
            some = [rows[place] for place in places]
            if own is None:
                found = words_of(some, (len(some), shape[1]), self.graphs)
                words[places] = found.numpy() if isinstance(found, ort.OrtValue) else found
                continue
            for place, row, each in zip(places, some, own.read(some), strict=True):
                words[place, tokens_of(row)] = each
                if len(row.prompt):
                    words[place, : len(row.prompt)] = row.prompt
        return words

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
        columns = [
            mask_positions(row.encoded, row.example.encoder) + len(row.prompt) for row in part.rows
        ]
        counts = [len(each) for each in columns]
        k = max(candidates_needed(row.example.encoder, row.example.top_k) for row in part.rows)
        rows = np.repeat(np.arange(len(counts)), counts)  # [N]
        feeds = {
            **part.lower,
            "hidden": part.hidden,
            "rows": rows,
            "slots": part.slots[rows],
            "columns": np.concatenate(columns),  # [N]
            "k": np.array([k], np.int64),
        }
        own = part.rows[0].own
        # A vocabulary of a module's own is no place of any bank.
        found = (  # [N, K] each
            own.fill_mask({name: feeds[name] for name in ("hidden", "rows", "columns", "k")})
            if own
            else self.graphs["fill_mask"].run(feeds, pinned.tables)
        )
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
    lower: Mapping[str, Array] = field(default_factory=dict)
    """Layers below the last that the head reads too, ``[B, T, D]`` each."""

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


def _leave(rows: list[EncoderRow], hidden: Array) -> None:
    """Takes rows with words of their own on to what heads read, ``[B, T, D]`` in place."""
    for own, places in _grouped([row.own for row in rows]).items():
        if own is None:
            continue
        some = [rows[place] for place in places]
        spans = [(place, tokens_of(row)) for place, row in zip(places, some, strict=True)]
        for span, left in zip(spans, own.leave(some, [hidden[s] for s in spans]), strict=True):
            hidden[span] = left


def _grouped(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Each key's places."""
    groups: dict[Key, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return groups


def _answer(row: EncoderRow, spoken: Spoken, output: Mapping[str, Array]) -> Json:
    if not all(np.isfinite(value).all() for value in output.values()):
        names = ", ".join(row.stack.keys) or "the base"
        raise LangmodError(f"{names} gave numbers that are not finite for this text")
    answer = TASKS[row.kind].decode(output, row.example)
    about = {"language": spoken.tag, "language_probability": spoken.probability}
    return {**answer, **about, "modules": row.stack.keys}
