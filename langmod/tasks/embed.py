"""Sentence vectors: the mean of a text's hidden states, of length 1."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from langmod.errors import BadRequest
from langmod.specs import BaseSpec
from langmod.tasks.base import (
    DIGITS,
    Array,
    Example,
    FloatArray,
    HeadBatch,
    RunHead,
    Task,
    TaskAnswer,
    Text,
)

QUERY = "query"
"""What a text is for where a request does not say."""


class Embedded(TaskAnswer):
    """A text's vector, of length 1."""

    vector: list[float]


class Embed(Task):
    """One vector for a text; close vectors, by their product, mean alike texts."""

    kind: ClassVar[str] = "embed"

    def worded(self, text: Text, purpose: str | None, base: BaseSpec) -> Text:
        """Puts in front what a sentence encoder reads before a query, or another kind of text."""
        return prefixed(text, purpose, base)

    def run(self, batch: HeadBatch, head: RunHead) -> list[Mapping[str, Array]]:
        """The hidden states ``[T, D]`` of each row's tokens; there is no head."""
        del head
        return [{"hidden": each} for each in batch.trimmed(batch.hidden)]

    def decode(self, outputs: Mapping[str, npt.NDArray[Any]], example: Example) -> Embedded:
        """The mean of ``hidden`` ``[T, D]`` over the row's tokens, scaled to length 1."""
        mean = unit(outputs["hidden"].astype(np.float64).mean(axis=0))
        return Embedded(vector=np.round(mean, DIGITS).tolist())

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """How often a vector's nearest reference is its own, as in retrieving translations."""
        nearest = (np.array(predictions) @ np.array(references).T).argmax(axis=1)
        return {"retrieval_accuracy": float((nearest == np.arange(len(nearest))).mean())}


def prefixed(text: Text, purpose: str | None, base: BaseSpec) -> Text:
    """A text as a sentence encoder was trained to read it, a query unless said otherwise.

    Raises:
        BadRequest: a purpose that this base does not tell apart.
    """
    if purpose is None and not base.prefixes:
        return text
    front = base.prefixes.get(purpose or QUERY)
    if front is None:
        known = ", ".join(base.prefixes) or "none"
        raise BadRequest(f"{base.name} knows no kind {purpose!r} of text; it knows: {known}")
    return f"{front}{text}"


def unit(vector: FloatArray) -> FloatArray:
    """A vector scaled to length 1; zero stays zero."""
    return vector / (float(np.linalg.norm(vector)) or 1.0)
