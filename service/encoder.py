"""The engine of an encoder base: embed → body → heads, rows of all its endpoints in one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort

from langmod.encoding import Encoded, IntArray
from langmod.errors import LangmodError
from langmod.langid import LanguageIdentifier
from langmod.tasks import TASKS, Example, HeadBatch, HeadTask, RunHead, Text
from service.bank import Pinned, Stack, prompt_of
from service.engine import Engine, Json, Outcome, Prepare, Prepared, Spoken, known
from service.rows import Shape, Value, batch_shape, length_of, mask_of, tokens_of, words_of
from service.schemas import ClassifyRequest, TextsRequest
from service.session import Array
from service.settings import Settings
from service.stacks import Wanted
from service.text.characters import clean
from service.text.detection import Choice
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
        return self.kind, self.own if TASKS[self.kind].answers_in_words else None

    @property
    def length(self) -> int:
        """Positions that it takes: its modules' soft prompts and its tokens."""
        return length_of(self)

    @property
    def encoded(self) -> Encoded:
        """The tokens of its text."""
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

    def _plan(self, kind: str, request: TextsRequest | ClassifyRequest) -> Prepare[EncoderRow]:
        modules = tuple(request.modules)
        task, top_k = getattr(request, "task", None), getattr(request, "top_k", 1)
        purpose = getattr(request, "kind", None)
        head = kind if isinstance(TASKS[kind], HeadTask) else None
        wanted = Wanted(None, task, head, modules=modules)
        given = self.resolver.tag(request.language) or self.resolver.named_language(modules)
        spoken = self.speak(
            request.texts,
            given,
            lambda: Choice(self.resolver.languages(), self.resolver.possible(wanted)),
        )

        @cache
        def stack(tag: str) -> Stack:
            return self.resolver.stack(replace(wanted, language=tag))

        # What is wrong with the request as a whole is no fault of each text.
        if given is not None:
            stack(given)

        def prepare(place: int, text: Text) -> Prepared[EncoderRow]:
            own = known(spoken[place])
            modules_of_row = stack(own.tag)
            labels = modules_of_row.task.manifest.labels if modules_of_row.task else ()
            words = self._vocabularies.of(modules_of_row.language)
            encoder = words.encoder if words else self.encoder
            read = TASKS[kind].worded(text, purpose, self.base)
            encoded = TASKS[kind].encode(encoder.beside(len(modules_of_row.prompt)), read)
            example = Example(text, encoded, encoder, labels, top_k)
            row = EncoderRow(kind, own.tag, modules_of_row, example, words)
            return Prepared(
                [row],
                lambda outputs: _given_spans(_answer(row, own, outputs[0]), request.texts[place]),
            )

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
        for (kind, own), places in _grouped([row.head for row in rows]).items():
            some, own_slots = [rows[place] for place in places], pinned.take(places).slots
            lower = layers if TASKS[kind].answers_in_words else {}
            lower = {name: each[places] for name, each in lower.items()}
            batch = head_batch(some, hidden[places], own_slots, lower)
            found = TASKS[kind].run(batch, self._head(kind, own, pinned))
            for place, output in zip(places, found, strict=True):
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

    def _head(self, kind: str, own: OwnVocabulary | None, pinned: Pinned) -> RunHead:
        """What runs the head of a kind of task, or of a module's own vocabulary."""
        if own is not None:
            return own.fill_mask
        return lambda feeds: self.graphs[kind].run(feeds, pinned.tables)


def head_batch(
    rows: Sequence[EncoderRow], hidden: Array, slots: Array, lower: Mapping[str, Array]
) -> HeadBatch:
    """Rows that go through one head, with what the body gave for them."""
    return HeadBatch(
        [row.example for row in rows],
        hidden,
        slots,
        [tokens_of(row) for row in rows],
        [row.pooled for row in rows],
        lower,
    )


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
    return {**answer.model_dump(), **about, "modules": row.stack.keys}


def _given_spans(answer: Json, given: Text) -> Json:
    """Spans, if there are any, in the characters of the text as it was given; none overlap."""
    if "spans" not in answer or not isinstance(given, str):
        return answer
    text, last, spans = clean(given), 0, []
    for span in answer["spans"]:
        start, end = text.given_span(span["start"], span["end"])
        start = max(start, last)
        if start < end:
            spans.append({**span, "start": start, "end": end, "text": given[start:end]})
            last = end
    return {**answer, "spans": spans}
