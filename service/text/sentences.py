"""A line as sentences, and a sentence too long for the base as parts: nothing is left out."""

from collections.abc import Callable, Sequence

import regex
from sentencex import segment as split_by_library

LINE_BREAKS = regex.compile(r"(?:\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])+")
INITIAL = regex.compile(r"(?:^|[\s.(«\"])\p{Script=Cyrillic}\p{M}*\.\s*$")
"""``А.Амар`` and ``А. Амар``: a name that goes on. The library knows it of Latin letters."""
SHAD = regex.compile(r"(?<=[།༎༏༑༔])\s+")
"""Ends of sentences and clauses in Tibetan script, at which the library does not cut."""
CLAUSE = regex.compile(r"(?<=[,;:،؛、，；：།—–)\]»”])\s*|(?<=[,;:])\s+")
SPACE = regex.compile(r"\s+")
CLUSTER = regex.compile(r"\X")
Span = tuple[int, int]


def sentence_spans(line: str, language: str, kept: Sequence[Span] = ()) -> list[Span]:
    """Where the sentences of one line lie; with the white space after them they are the line.

    Args:
        line: without line breaks.
        language: its tag; rules of the nearest language are used where it has none of its own.
        kept: parts within which no sentence ends, such as addresses.
    """
    ends = [end for end in _ends(line, language) if not _inside(end, kept)]
    starts = [0, *ends[:-1]]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _ends(line: str, language: str) -> list[int]:
    parts = split_by_library(language.partition("-")[0], line)
    # The library gives every character back; if once it did not, the line is one sentence.
    if "".join(parts) != line:
        parts = [line]
    ends: list[int] = []
    at = 0
    for part in parts:
        ends += [at + match.end() for match in SHAD.finditer(part)]
        at += len(part)
        if not INITIAL.search(line, 0, at) or at == len(line):
            ends.append(at)
    return sorted({*ends, len(line)})


def parts_that_fit(text: str, fits: Callable[[str], bool], kept: Sequence[Span] = ()) -> list[Span]:
    """A text in as few halves of halves as fit.

    It is cut at a clause, else at white space, else between two characters; never inside what is
    kept.
    """
    if fits(text):
        return [(0, len(text))]
    cut = middle(text, kept)
    if cut is None:
        return [(0, len(text))]
    later = [(start - cut, end - cut) for start, end in kept if start >= cut]
    first = parts_that_fit(text[:cut], fits, [each for each in kept if each[1] <= cut])
    second = parts_that_fit(text[cut:], fits, later)
    return [*first, *((start + cut, end + cut) for start, end in second)]


def middle(text: str, kept: Sequence[Span] = ()) -> int | None:
    """Where to cut a text in two, as near to its middle as may be; None where it cannot be cut."""
    for pattern, share in ((CLAUSE, 0.3), (SPACE, 0.0), (CLUSTER, 0.0)):
        cuts = [
            match.end()
            for match in pattern.finditer(text)
            if share * len(text) < match.end() < len(text) * (1 - share)
            and text[: match.end()].strip()
            and text[match.end() :].strip()
            and not _inside(match.end(), kept)
        ]
        if cuts:
            return min(cuts, key=lambda cut: abs(cut - len(text) / 2))
    return None


def _inside(place: int, kept: Sequence[Span]) -> bool:
    return any(start < place < end for start, end in kept)
