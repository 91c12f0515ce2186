"""Rows as a base reads them: soft prompts, then tokens, then padding.

Prompts are put in front of the word vectors here and not in a graph, so that a row without one pays
nothing.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import onnxruntime as ort

from langmod.encoding import IntArray
from langmod.specs import BaseSpec
from service.fair_queue import padded
from service.session import Array, GraphSet

Value: TypeAlias = Array | ort.OrtValue
Shape: TypeAlias = tuple[int, int]


class Readable(Protocol):
    """What must be known of a row to read it."""

    @property
    def token_ids(self) -> IntArray:
        """``[T]`` without padding."""
        ...

    @property
    def prompt(self) -> Array:
        """The vectors in front of its tokens, ``[P, D]``."""
        ...


def tokens_of(row: Readable) -> slice:
    """Where a row's own tokens lie, behind its prompt."""
    start = len(row.prompt)
    return slice(start, start + len(row.token_ids))


def length_of(row: Readable) -> int:
    """Positions that a row takes, its prompt included."""
    return tokens_of(row).stop


def batch_shape(rows: Sequence[Readable], base: BaseSpec) -> Shape:
    """Rows, and positions after padding."""
    return len(rows), min(padded(max(map(length_of, rows))), base.max_tokens)


def mask_of(rows: Sequence[Readable], shape: Shape) -> IntArray:
    """``[B, T]`` 1 at prompts and tokens, 0 at padding."""
    return (np.arange(shape[1]) < np.array([[length_of(row)] for row in rows])).astype(np.int64)


def words_of(rows: Sequence[Readable], shape: Shape, graphs: GraphSet) -> Value:
    """Word vectors ``[B, T, D]``; they stay on the device unless a row has a prompt."""
    token_ids = np.full(shape, graphs.base.pad_id, np.int64)
    for at, row in enumerate(rows):
        token_ids[at, tokens_of(row)] = row.token_ids
    prompted = [at for at, row in enumerate(rows) if len(row.prompt)]
    if not prompted:
        kept: Value = graphs["embed"].run({"token_ids": token_ids}, keep=("words",))["words"]
        return kept
    words: Array = graphs["embed"].run({"token_ids": token_ids})["words"]
    for at in prompted:
        words[at, : len(rows[at].prompt)] = rows[at].prompt
    return words
