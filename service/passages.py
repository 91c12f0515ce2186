"""Texts of any length through a translator that reads sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langmod.encoding import Encoded, TextEncoder
from langmod.errors import LangmodError, TextTooLong
from service.bank import Stack
from service.decoding import Sentence
from service.engine import Json, Prepared, Spoken
from service.rows import length_of
from service.searches import Hypothesis, Sampling, SearchPlan
from service.settings import Settings
from service.text.documents import Result, Wishes, plain_text
from service.text.html import escaped, html_text
from service.text.rendering import Manner
from service.text.segments import Draft, Work


@dataclass(frozen=True)
class Leg:
    """What is asked of one text: from where, to where, searched how."""

    source: Spoken
    target: str
    beams: int = 1
    n_best: int = 1
    max_length: int | None = None
    """Of each sentence."""
    length_ratio: float | None = None
    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0
    sampling: Sampling | None = None
    wishes: Wishes = field(default_factory=Wishes)
    pivot: str | None = None
    """Through which it may go where its direction has no module."""
    html: bool = False

    @property
    def direction(self) -> tuple[str, str]:
        """From where to where."""
        return self.source.tag, self.target


@dataclass(frozen=True, eq=False)
class TranslatorRow:
    """One sentence of a text on one leg, ready to run."""

    leg: Leg
    stack: Stack
    sentence: Sentence

    @property
    def language(self) -> str:
        """Whose turn it takes: each direction's."""
        return "→".join(self.leg.direction)

    @property
    def length(self) -> int:
        """Positions that it takes: its module's soft prompt and its source tokens."""
        return length_of(self.sentence)


@dataclass(frozen=True)
class Passage:
    """A text that came through a leg."""

    leg: Leg
    stack: Stack
    result: Result
    source_tokens: int
    """Of all its sentences, their language tokens and ends included."""


Then = Callable[[Passage], "Json | Prepared[TranslatorRow]"]
"""What follows a leg: the answer, or another leg."""


class Passages:
    """Takes texts through the rows of one translator base."""

    def __init__(self, encoder: TextEncoder, start_id: int, settings: Settings) -> None:
        self._encoder = encoder
        self._start_id = start_id
        self._settings = settings

    def begin(
        self, text: str, leg: Leg, stack: Stack, then: Then
    ) -> "Json | Prepared[TranslatorRow]":
        """A text's first rows, or what follows if it holds nothing to translate.

        Raises:
            BadRequest: soft prompts leave no room for text.
        """
        read = _Read(self._encoder.beside(len(stack.prompt)), leg.source.tag)
        # Where tokens at most were given what is longer is cut, as was asked.
        whole = leg.max_length is None and leg.wishes.marks
        manner = Manner(escaped if leg.html else str, read.fits, whole)
        work = (html_text if leg.html else plain_text)(text, leg.wishes, manner)
        return self._go_on(_Underway(work, leg, stack, read, then), None)

    def _go_on(
        self, underway: "_Underway", replies: list[Sequence[Draft]] | None
    ) -> "Json | Prepared[TranslatorRow]":
        read, work = underway.read, underway.work
        try:
            # A generator that has not begun takes nothing but None.
            asks = next(work) if replies is None else work.send(replies)
        except StopIteration as done:
            tokens = read.first_tokens
            return underway.then(Passage(underway.leg, underway.stack, done.value, tokens))
        rows = [self._row(read.encoded(ask), underway.leg, underway.stack) for ask in asks]
        if replies is None:
            read.first_tokens = sum(len(row.sentence.token_ids) for row in rows)

        def finish(outputs: Sequence[Any]) -> "Json | Prepared[TranslatorRow]":
            drafts: list[Sequence[Draft]] = [
                self._drafts(*pair) for pair in zip(rows, outputs, strict=True)
            ]
            return self._go_on(underway, drafts)

        return Prepared(rows, finish)

    def _row(self, encoded: Encoded, leg: Leg, stack: Stack) -> TranslatorRow:
        plan = SearchPlan(
            start_id=self._start_id,
            target_id=self._encoder.base.language_tokens[leg.target],
            eos_id=self._encoder.base.eos_id,
            max_length=leg.max_length or self._usual_length(len(encoded), leg),
            beams=leg.beams,
            n_best=leg.n_best,
            sampling=leg.sampling,
            no_repeat_ngram=leg.no_repeat_ngram,
            repetition_penalty=leg.repetition_penalty,
        )
        return TranslatorRow(leg, stack, Sentence(encoded.token_ids, plan, stack.prompt))

    def _usual_length(self, tokens: int, leg: Leg) -> int:
        ratio = leg.length_ratio or self._settings.length_ratio
        return min(
            self._encoder.base.most_written, round(ratio * tokens) + self._settings.length_margin
        )

    def _drafts(self, row: TranslatorRow, hypotheses: Sequence[Hypothesis]) -> list[Draft]:
        if not all(np.isfinite(each.score) for each in hypotheses):
            names = ", ".join(row.stack.keys) or "the base"
            raise LangmodError(f"{names} gave numbers that are not finite for this text")
        return [
            Draft(
                self._encoder.decode(each.token_ids),
                each.score,
                len(each.token_ids),
                cut=each.token_ids[-1] != self._encoder.base.eos_id,
            )
            for each in hypotheses
        ]


class _Read:
    """The segments of one text as the base reads them, each encoded once."""

    def __init__(self, encoder: TextEncoder, language: str) -> None:
        self._encoder, self._language = encoder, language
        self._known: dict[str, Encoded] = {}
        self.first_tokens = 0

    def encoded(self, text: str) -> Encoded:
        if text not in self._known:
            self._known[text] = self._encoder.encode_sentence(text, self._language)
        return self._known[text]

    def fits(self, text: str) -> bool:
        try:
            self.encoded(text)
        except TextTooLong:
            return False
        return True


@dataclass(frozen=True)
class _Underway:
    work: Work[Result]
    leg: Leg
    stack: Stack
    read: _Read
    then: Then
