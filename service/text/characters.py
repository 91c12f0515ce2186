"""A text's characters: one form for every way to write them, and where each came from.

Texts are read in Unicode's form NFC without characters that nobody sees, so that NFC, NFD and
conjoining Jamo are answered alike. Spans are told in the caller's own characters.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

import regex

UNSEEN = regex.compile(
    r"[\p{Cc}--[\t\n\r\v\f\x85]]"  # control characters that are no white space
    r"|[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]",
    regex.VERSION1,
)
"""Soft hyphens, marks of direction and order, zero-width spaces, byte order marks; joiners and
variation selectors change what is seen and stay."""
LONE_SURROGATES = re.compile(r"[\ud800-\udfff]")
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
CLUSTER = regex.compile(r"\X")


@dataclass(frozen=True)
class CleanText:
    """A text as it is read, beside the text as it was given."""

    given: str
    text: str

    @cached_property
    def _origins(self) -> list[tuple[int, int]]:
        """For each character of ``text``: the part of ``given`` that is seen as one with it."""
        kept = [at for at, char in enumerate(self.given) if not UNSEEN.match(char)]
        seen = LONE_SURROGATES.sub(UNREADABLE, "".join(self.given[at] for at in kept))
        origins: list[tuple[int, int]] = []
        for cluster in CLUSTER.finditer(seen):
            own = kept[cluster.start()], kept[cluster.end() - 1] + 1
            origins += [own] * len(unicodedata.normalize("NFC", cluster.group()))
        return origins

    def given_span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of ``text`` lies in ``given``: whole characters as a reader sees them."""
        if self.text.isascii() and self.text == self.given:
            return start, end
        return self._origins[start][0], self._origins[end - 1][1]


def clean(text: str) -> CleanText:
    """A text in NFC, without unseen characters and lone surrogates."""
    seen = LONE_SURROGATES.sub(UNREADABLE, UNSEEN.sub("", text))
    return CleanText(text, unicodedata.normalize("NFC", seen))


def is_blank(text: str) -> bool:
    """Whether nothing is to be seen of a clean text."""
    return not text.strip()


def has_letters(text: str) -> bool:
    """Whether there is something to translate in a text."""
    return any(char.isalpha() for char in text)
