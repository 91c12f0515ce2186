"""A whole text: its lines and sentences as segments, and their translations in their places."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import regex

from service.text.marks import TAGS, Mark, joined, literal, placeholders, without_tags
from service.text.rendering import Manner, beside
from service.text.segments import Draft, Segment, Work
from service.text.sentences import LINE_BREAKS, sentence_spans

BULLET = regex.compile(r"\s*(?:(?:[-*+•·–—>#]+|\p{Nd}+[.)])\s+)*")
AS_SPACES = str.maketrans("\t\n\f\r\v", "     ")
ISOLATING = frozenset({"en", "es", "yo", "bm", "zh", "vi"})
"""Languages whose words take no endings that a glossary would have to look past."""


@dataclass(frozen=True)
class Wishes:
    """What a request asks of its texts' translations, beside the language."""

    language: str = ""
    keep: tuple[str, ...] = ()
    """Strings that stay as they are."""
    glossary: dict[str, str] = field(default_factory=dict)
    """Terms of the source and what they are to be called."""
    marks: bool = True
    """Whether placeholders, addresses, numbers and tags must survive, and all of a sentence whose
    translation grows too long; else translations are as the model gives them."""

    def spoken(self, pivot: str) -> "Wishes":
        """What is left to wish of a text in another language, the glossary's words in it."""
        return replace(
            self, language=pivot, keep=(*self.keep, *self.glossary.values()), glossary={}
        )


@dataclass(frozen=True)
class Result:
    """The translations of a whole text."""

    drafts: list[Draft]
    sentences: int
    """Of the source, those that were translated as well as those with nothing to translate."""


def marked(
    text: str, wishes: Wishes, tags: Sequence[Mark] = (), kept: Sequence[Mark] = ()
) -> Segment:
    """A text with everything in it that its translation must hold.

    ``kept`` goes before the caller's own wishes, and these before what is found by its form.
    """
    marks = joined(kept, literal(text, wishes.keep))
    marks = joined(marks, _terms(text, wishes))
    marks = joined(marks, placeholders(text) if wishes.marks else [])
    # A tag inside something kept would tear it apart.
    free = [tag for tag in tags if not any(each.start < tag.start < each.end for each in marks)]
    return Segment(text, tuple(sorted([*marks, *free], key=lambda each: (each.start, each.end))))


def _terms(text: str, wishes: Wishes) -> list[Mark]:
    found: list[Mark] = []
    for source in sorted(wishes.glossary, key=len, reverse=True):
        ending = r"(?![\p{L}\p{M}\p{N}])" if wishes.language in ISOLATING else ""
        pattern = rf"(?<![\p{{L}}\p{{M}}\p{{N}}]){regex.escape(source)}{ending}"
        target = wishes.glossary[source]
        found = joined(
            found,
            (
                Mark(match.start(), match.end(), "term", target)
                for match in regex.finditer(pattern, text, regex.IGNORECASE)
            ),
        )
    return found


def sentences(segment: Segment, language: str) -> list[Segment]:
    """The sentences of one line, each with the white space after it."""
    spans = sentence_spans(segment.text.translate(AS_SPACES), language, segment.spans)
    if len(spans) < 2:
        return [segment] if segment.text or segment.marks else []
    return [segment.part(start, end) for start, end in spans]


def plain_text(
    text: str, wishes: Wishes, manner: Manner, *, tags_in_it: bool = True
) -> Work[Result]:
    """Translates a plain text line by line; line breaks, indents and bullets stay."""
    plain, tags = without_tags(text) if wishes.marks and tags_in_it else (text, [])
    parts = lines(marked(plain, wishes, tags), wishes.language)
    drafts = yield from beside(parts, manner)
    return Result(drafts, count_sentences(parts))


def lines(whole: Segment, language: str) -> list[Segment | str]:
    """The sentences of every line, and what stands between lines."""
    parts: list[Segment | str] = []
    at = 0
    for match in LINE_BREAKS.finditer(whole.text):
        parts += [*_line(whole, at, match.start(), language), match.group()]
        at = match.end()
    return [*parts, *_line(whole, at, len(whole.text), language)]


def count_sentences(parts: Sequence[Segment | str]) -> int:
    """How many of the parts hold something."""
    return sum(not isinstance(part, str) and bool(part.text.strip()) for part in parts)


def _line(whole: Segment, start: int, end: int, language: str) -> list[Segment | str]:
    """A line's bullet, and its sentences with the tags that stand in them."""
    line = _tags_of_line(whole, start, end)
    bullet = BULLET.match(line.text)
    indent = bullet.end() if bullet else 0
    if not indent or any(mark.kind in TAGS and mark.start <= indent for mark in line.marks):
        return [*sentences(line, language)]
    rest = Segment(
        line.text[indent:],
        tuple(mark.moved(-indent) for mark in line.marks if mark.start >= indent),
    )
    return [line.text[:indent], *sentences(rest, language)]


def _tags_of_line(whole: Segment, start: int, end: int) -> Segment:
    # Unlike between sentences nothing is between a tag at a line's edge and its line.
    marks = [mark.moved(-start) for mark in whole.marks if start <= mark.start and mark.end <= end]
    return Segment(whole.text[start:end], tuple(marks))
