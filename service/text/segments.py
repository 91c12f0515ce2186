"""What is translated as one: a sentence or less, its marks, and how it is put together again."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from service.text.characters import has_letters
from service.text.marks import TAGS, Mark


@dataclass(frozen=True)
class Draft:
    """A translation of one segment or of all, as the model or the joining gave it."""

    text: str
    score: float = 0.0
    """Mean log-probability of its tokens."""
    tokens: int = 0
    cut: bool = False
    """Whether it reached the most tokens that were allowed before its end."""


Reply: TypeAlias = Sequence[Draft]
"""The translations of one text, the best first."""
Result = TypeVar("Result")
Work: TypeAlias = Generator[list[str], list[Reply], Result]
"""Yields texts to be translated, is sent their translations, and returns what it made of them."""
Escape: TypeAlias = Callable[[str], str]
"""How plain text is written in the caller's format."""


@dataclass(frozen=True)
class Segment:
    """A part of a text with the marks in it."""

    text: str
    marks: tuple[Mark, ...] = ()

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Parts of its text that are never cut in two."""
        return [(mark.start, mark.end) for mark in self.marks if mark.start < mark.end]

    @property
    def translatable(self) -> bool:
        """Whether there is something to translate beside its marks."""
        left, at = "", 0
        for start, end in self.spans:
            left, at = left + self.text[at:start], end
        terms = any(mark.kind == "term" for mark in self.marks)
        return terms or has_letters(left + self.text[at:])

    def part(self, start: int, end: int) -> "Segment":
        """A part of it; tags at its edges go where they belong: a closing tag to what it closes."""
        inside = [
            mark.moved(-start)
            for mark in self.marks
            if start <= mark.start
            and mark.end <= end
            and not (mark.kind in TAGS and self._elsewhere(mark, start, end))
        ]
        return Segment(self.text[start:end], tuple(inside))

    def _elsewhere(self, mark: Mark, start: int, end: int) -> bool:
        at_start = mark.start == start and start > 0
        at_end = mark.start == end and end < len(self.text)
        return (at_start and mark.kind == "close") or (at_end and mark.kind != "close")


def assembled(text: str, places: Iterable[tuple[int, int, str]], escape: Escape) -> str:
    """A text with what stands in certain places of it: ``(start, end, output)`` in order."""
    parts: list[str] = []
    at = 0
    for start, end, output in places:
        parts += [escape(text[at:start]), output]
        at = end
    return "".join([*parts, escape(text[at:])])


def as_it_is(segment: Segment, escape: Escape) -> str:
    """A segment untranslated."""
    return assembled(
        segment.text, [(mark.start, mark.end, mark.put(escape)) for mark in segment.marks], escape
    )


def joined_drafts(parts: Sequence[str | Reply]) -> list[Draft]:
    """Texts and the translations between them, as whole translations, the best first.

    As many as the part with most of them; a part with fewer gives its last again.
    """
    replies = [part for part in parts if not isinstance(part, str)]
    count = max(map(len, replies), default=1)
    whole = []
    for rank in range(count):
        chosen = [
            Draft(part) if isinstance(part, str) else part[min(rank, len(part) - 1)]
            for part in parts
        ]
        tokens = sum(draft.tokens for draft in chosen)
        score = sum(draft.score * draft.tokens for draft in chosen) / (tokens or 1)
        text = "".join(draft.text for draft in chosen)
        whole.append(Draft(text, score, tokens, any(draft.cut for draft in chosen)))
    return whole


def together(works: Sequence[Work[Result]]) -> Work[list[Result]]:
    """Several works as one: what they ask for at the same time is asked at once."""
    results: dict[int, Result] = {}
    asks: dict[int, list[str]] = {}

    def go_on(place: int, replies: list[Reply] | None) -> None:
        try:
            # A generator that has not begun takes nothing but None.
            work = works[place]
            asks[place] = next(work) if replies is None else work.send(replies)
        except StopIteration as done:
            results[place] = done.value

    for place in range(len(works)):
        go_on(place, None)
    while asks:
        now, asks = asks, {}
        replies = iter((yield [each for own in now.values() for each in own]))
        for place, own in now.items():
            go_on(place, [next(replies) for _ in own])
    return [results[place] for place in range(len(works))]
