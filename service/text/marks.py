"""Parts of a text that a translation must hold: placeholders, addresses, numbers, tags, names.

A mark is found in a source segment, looked for in its translation (`find_marks`), and where the
model wrote it with a slip, mended there (`mend`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import regex

Kind = Literal["fixed", "number", "term", "open", "close", "point"]
"""``fixed``: to be kept letter by letter; ``number``: by its digits; ``term``: as the glossary has
it; the others are tags, which are of no length: one that opens, one that closes, one alone."""
TAGS: tuple[Kind, ...] = ("open", "close", "point")

FIXED = regex.compile(
    r"""
    (?P<url>   \b(?:(?:https?|ftp|file|ssh|git)://|mailto:|www\.)
               [^\s<>"'«»“”「」]+[^\s<>"'«»“”「」.,;:!?)\]}।。、…] )
  | (?P<mail>  [\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+ )
  | (?P<braces> [$\#%@]? (?P<brace>\{(?:[^{}\n]|(?&brace))*\}) )
  | (?P<named> %\(\w+\)[-#0\ +]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]
             | \$\(\w+\) | \$\w+\$ | %[A-Z][A-Z_]{2,}%? )
  | (?P<printf> (?<![\d%])%(?:\d+\$)?[-+\#0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?
                (?:(?:hh|h|ll|l|q|z|t|j|L)?(?:[diusSxX@]|[oeEfFgGcrap](?!\p{L}))|%)
             | %\d+ )
  | (?P<variable> \$(?:\d+|\p{L}\w*)(?!\$) )
  | (?P<entity> &(?:\#\d+|\#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9.]*); )
  | (?P<escape> \\[nrt"'] )
  | (?P<emoji> (?:\p{Regional_Indicator}{2}
             | [\d\#*]\ufe0f\u20e3
             | \p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier})?
               (?:\u200d\p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier})?)*) )
  | (?P<number> \p{Nd}+(?:[.,:/'\u00a0\u202f\u066b\u066c-]?\p{Nd}+)* )
    """,
    regex.VERBOSE,
)
TAG = regex.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]*)(?:\s[^<>]*)?/?>|<!--.*?-->", regex.DOTALL)
NOT_ALONE = "©®™"
"""Characters that Unicode counts among pictures and every text holds."""


@dataclass(frozen=True)
class Mark:
    """A part of a segment's text that its translation must hold."""

    start: int
    end: int
    kind: Kind
    output: str
    """What stands there in the end."""
    name: str = ""
    """Of a tag: what opens and closes by the same name belongs together."""
    written: bool = False
    """Whether ``output`` is in the caller's format already, as tags are."""

    def put(self, escape: Callable[[str], str]) -> str:
        """What stands there in the end, in the caller's format."""
        return self.output if self.written else escape(self.output)

    def moved(self, by: int) -> "Mark":
        """The same mark so many characters further on."""
        return replace(self, start=self.start + by, end=self.end + by)


def placeholders(text: str) -> list[Mark]:
    """Everything in a text that programs or people read letter by letter, in order."""
    found = []
    for match in FIXED.finditer(text):
        whole = match.group()
        if whole in NOT_ALONE:
            continue
        kind: Kind = "number" if match.lastgroup == "number" else "fixed"
        found.append(Mark(match.start(), match.end(), kind, whole))
    return found


def literal(text: str, wanted: Iterable[str]) -> list[Mark]:
    """Every place of what a caller wants kept, the longest first; in a word's middle too."""
    found: list[Mark] = []
    for each in sorted(set(wanted), key=len, reverse=True):
        for match in regex.finditer(regex.escape(each), text):
            found = joined(found, [Mark(match.start(), match.end(), "fixed", each)])
    return found


def joined(first: Sequence[Mark], others: Iterable[Mark]) -> list[Mark]:
    """Marks in order; of ``others`` those that do not overlap the first."""
    fitting = [
        other
        for other in others
        if all(other.end <= each.start or other.start >= each.end for each in first)
    ]
    return sorted([*first, *fitting], key=lambda each: (each.start, each.end))


def without_tags(text: str) -> tuple[str, list[Mark]]:
    """A plain text without what looks like tags, and these as marks in it."""
    parts: list[str] = []
    found: list[Mark] = []
    at = length = 0
    for match in TAG.finditer(text):
        parts.append(text[at : match.start()])
        length += len(parts[-1])
        at = match.end()
        closing, name = match.groups()
        alone = not name or match.group().endswith("/>")
        kind: Kind = "point" if alone else "close" if closing else "open"
        found.append(Mark(length, length, kind, match.group(), name or "", written=True))
    return "".join([*parts, text[at:]]), found


def digits(text: str) -> str:
    """The digits of a number in any script as 0 to 9, without what stands between them."""
    return "".join(str(int(char)) for char in text if char.isdecimal())


Spans = dict[Mark, tuple[int, int]]
"""Where marks lie in a translation."""


def find_marks(source: str, marks: Sequence[Mark], translation: str) -> Spans:
    """Where the marks of a source lie in its translation; what is not there is left out.

    Marks that are written alike are taken in order, and no two share a character.
    """
    spans: Spans = {}
    for mark in sorted(marks, key=lambda each: each.start - each.end):
        if mark.kind in TAGS:
            continue
        for start, end in _places(source[mark.start : mark.end], mark, translation):
            if all(end <= taken[0] or start >= taken[1] for taken in spans.values()):
                spans[mark] = (start, end)
                break
    return spans


def _places(shown: str, mark: Mark, translation: str) -> Iterable[tuple[int, int]]:
    if mark.kind == "number":
        yield from _numbers_like(shown, translation)
        return
    wanted = mark.output if mark.kind == "term" else shown
    flags = regex.IGNORECASE if mark.kind == "term" else 0
    pattern = regex.escape(wanted)
    # "%1" is not the beginning of "%10", nor "$name" of "$names"; "%s" takes endings.
    if mark.kind == "fixed" and wanted[-1].isdecimal():
        pattern += r"(?![\p{N}_])"
    elif mark.kind == "fixed" and wanted[0] == "$" and wanted[-1].isalpha():
        pattern += r"(?![\p{L}\p{N}_])"
    yield from (match.span() for match in regex.finditer(pattern, translation, flags))


def _numbers_like(shown: str, translation: str) -> Iterable[tuple[int, int]]:
    """Places of a number, however grouped; else of its parts, as in ``11:29`` and ``11 h 29``."""
    wanted = digits(shown)
    for match in FIXED.finditer(translation):
        if match.lastgroup == "number" and digits(match.group()) == wanted:
            yield match.span()
    for pattern in _other_forms(shown, wanted):
        whole = rf"(?<!\p{{Nd}}){pattern}(?!\p{{Nd}})"
        yield from (match.span() for match in regex.finditer(whole, translation))


def _other_forms(shown: str, wanted: str) -> Iterable[str]:
    """Patterns of a number with its parts set apart, and in groups of three."""
    runs = [digits(run) for run in regex.findall(r"\p{Nd}+", shown)]
    if len(runs) > 1:
        yield r"[^\p{Nd}]{1,12}?".join(_any_digits(run) for run in runs)
    if len(wanted) > 3:
        first = len(wanted) % 3 or 3
        groups = [wanted[:first], *(wanted[at : at + 3] for at in range(first, len(wanted), 3))]
        yield r"[\s.,'\u00a0\u202f]?".join(map(_any_digits, groups))


def _any_digits(run: str) -> str:
    return "".join(f"[{''.join(chr(zero + int(digit)) for zero in ZEROES)}]" for digit in run)


ZEROES = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0xF20, 0x1810, 0xFF10]
"""Digits as Latin, Arabic, Persian, Devanagari, Bengali, Thai, Tibetan, Mongolian and wide ones."""


def mend(source: str, marks: Sequence[Mark], translation: str) -> str:
    """A translation in which marks written with a slip are as they should be.

    A slip is white space inside or letters of another case, ``% S`` for ``%s``; or another number
    in the place of the only one that is missing.
    """
    for mark in marks:
        if mark.kind == "fixed" and mark not in find_marks(source, marks, translation):
            translation = _tightened(source[mark.start : mark.end], translation)
    missing = [
        mark
        for mark in marks
        if mark.kind == "number" and mark not in find_marks(source, marks, translation)
    ]
    taken = find_marks(source, marks, translation).values()
    surplus = [
        match.span()
        for match in FIXED.finditer(translation)
        if match.lastgroup == "number"
        and all(match.end() <= start or match.start() >= end for start, end in taken)
    ]
    if len(missing) == len(surplus) == 1:
        start, end = surplus[0]
        (mark,) = missing
        translation = translation[:start] + source[mark.start : mark.end] + translation[end:]
    return translation


def _tightened(shown: str, translation: str) -> str:
    tight = "".join(shown.split())
    if len(tight) < 2 or not any(char.isalnum() for char in tight):
        return translation
    loose = r"\s*".join(map(regex.escape, tight))
    pattern = rf"(?<![\p{{L}}\p{{N}}]){loose}(?![\p{{L}}\p{{N}}])"
    return regex.sub(pattern, lambda _: shown, translation, count=1, flags=regex.IGNORECASE)
