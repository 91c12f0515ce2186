"""Texts as words for the linear tagger of ``training baseline``: contexts in, spans out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from langmod.tasks.tag import OUTSIDE, Reference
from training.data.task_data import LabelledText

WORD = re.compile(r"\w+|[^\w\s]+")
"""Punctuation stands apart: a name before a comma is still a whole word."""
LONGEST = 5


@dataclass(frozen=True)
class Word:
    """One word of a text."""

    start: int
    end: int
    context: tuple[str, str, str]
    """The word before, the word, the word after; empty at the ends."""
    label: str
    """The label of the first span that touches it."""


def words_of(example: LabelledText) -> list[Word]:
    """The words of a text in order."""
    text = str(example.text)
    places = [match.span() for match in WORD.finditer(text)]
    pieces = ["", *(text[start:end] for start, end in places), ""]
    return [
        Word(start, end, (pieces[at], pieces[at + 1], pieces[at + 2]), _label(example, start, end))
        for at, (start, end) in enumerate(places)
    ]


def neighbour_ngrams(context: tuple[str, str, str]) -> list[str]:
    """Character n-grams of a word and its neighbours, each marked with whose it is."""
    return [
        mark + padded[start : start + size]
        for mark, padded in zip("-=+", (f" {piece} " for piece in context), strict=True)
        for size in range(1, LONGEST + 1)
        for start in range(len(padded) - size + 1)
    ]


def spans_of(words: Sequence[Word], labels: Sequence[str]) -> list[Reference]:
    """Neighbouring words of one label as one span."""
    spans: list[Reference] = []
    last = OUTSIDE
    for word, label in zip(words, labels, strict=True):
        if label != OUTSIDE and label == last:
            spans[-1] = (spans[-1][0], word.end, label)
        elif label != OUTSIDE:
            spans.append((word.start, word.end, label))
        last = label
    return spans


def _label(example: LabelledText, start: int, end: int) -> str:
    touching = (label for first, last, label in example.reference if first < end and last > start)
    return next(touching, OUTSIDE)
