"""Tagging: labelled spans of a text, such as names, from one label per token.

Labels follow tokens, not words, because a name may end inside a word: Korean particles and Kazakh
suffixes are written on to it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from langmod.encoding import Encoded
from langmod.specs import BankSpec
from langmod.tasks.base import DIGITS, IGNORED, Example, FloatArray, HeadTask, TaskAnswer, softmax

if TYPE_CHECKING:
    import torch

Reference = tuple[int, int, str]
"""First character, the one after the last, label without ``B-`` or ``I-``."""
OUTSIDE = "O"


class Span(BaseModel):
    """A labelled part of a text."""

    label: str
    start: int
    """First character."""
    end: int
    """The character after the last."""
    text: str
    score: float


class Tagged(TaskAnswer):
    """The labelled spans of a text, in order."""

    spans: list[Span]


class Tag(HeadTask):
    """A linear layer on every token; labels are ``O``, ``B-<label>`` and ``I-<label>``."""

    kind: ClassVar[str] = "tag"

    def head_banks(self, width: int) -> tuple[BankSpec, ...]:
        """Output layer ``[D, C]`` and its bias."""
        return (
            BankSpec(
                name="task.tag.out_weight",
                role="task",
                shape=("S.task", width, "C.task.tag"),
            ),
            BankSpec(name="task.tag.out_bias", role="task", shape=("S.task", "C.task.tag")),
        )

    def head(
        self,
        hidden: "torch.Tensor",
        pool: "torch.Tensor",
        tensors: "Mapping[str, torch.Tensor]",
    ) -> "torch.Tensor":
        """``hidden @ out + bias``, logits ``[B, T, C]``; ``pool`` is not used."""
        return hidden @ tensors["out_weight"] + tensors["out_bias"].unsqueeze(1)

    def targets(
        self, reference: Any, encoded: Encoded, labels: Sequence[str]
    ) -> npt.NDArray[np.int64]:
        """A label per token ``[T]``: the first token that touches a span begins it.

        Args:
            reference: spans ``[start, end, label]`` in characters.
            encoded: the text.
            labels: of the module.
        """
        targets = np.full(len(encoded), labels.index(OUTSIDE), np.int64)
        starts, ends = encoded.offsets.T
        for start, end, label in sorted(reference, reverse=True):
            inside = (starts < end) & (ends > start) & ~encoded.special
            targets[inside] = labels.index(f"I-{label}")
            targets[np.flatnonzero(inside)[:1]] = labels.index(f"B-{label}")
        targets[encoded.special] = IGNORED
        return targets

    def decode(self, outputs: Mapping[str, npt.NDArray[Any]], example: Example) -> Tagged:
        """Spans in order, from ``logits`` ``[T, C]``; a score is the mean of its tokens'."""
        text = str(example.text)
        kinds, scores = _token_kinds(softmax(outputs["logits"]), example.labels)
        spans = []
        for tokens in _runs(kinds, example.encoded, text):
            start, end = _trimmed(example.encoded.offsets[tokens], text)
            if start < end:
                label = kinds[tokens[0]].removeprefix("B-").removeprefix("I-")
                score = float(np.mean([scores[token] for token in tokens]))
                score = round(score, DIGITS)
                own = text[start:end]
                spans.append(Span(label=label, start=start, end=end, text=own, score=score))
        return Tagged(spans=spans)

    def predicted(self, answer: TaskAnswer) -> list[Reference]:
        """The spans without text and score."""
        assert isinstance(answer, Tagged), "answers are of their own task"
        return [(span.start, span.end, span.label) for span in answer.spans]

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Precision, recall and F1 of whole spans; both sides are lists of spans for each text."""
        # Not installed where models only serve.
        from seqeval.metrics import f1_score, precision_score, recall_score

        guesses, truths = [], []
        for guess, truth in zip(predictions, references, strict=True):
            length = max((span[1] for span in [*guess, *truth]), default=0)
            guesses.append(_characters(guess, length))
            truths.append(_characters(truth, length))
        metrics = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
        return {
            name: float(metric(truths, guesses, zero_division=0))
            for name, metric in metrics.items()
        }


def _token_kinds(probabilities: FloatArray, labels: Sequence[str]) -> tuple[list[str], list[float]]:
    """The label of each token and how likely it is to be of that sort, beginning or not."""
    best = [labels[at] for at in probabilities.argmax(axis=-1)]
    sorts = np.array([label.removeprefix("B-").removeprefix("I-") for label in labels])
    scores = [
        float(row[sorts == label.removeprefix("B-").removeprefix("I-")].sum())
        for row, label in zip(probabilities, best, strict=True)
    ]
    return best, scores


def _runs(kinds: Sequence[str], encoded: Encoded, text: str) -> list[list[int]]:
    """Tokens of one span each; a new one begins at ``B-`` at a word's start, or another label."""
    runs: list[list[int]] = []
    last = ""
    for token, kind in enumerate(kinds):
        if encoded.special[token] or kind == OUTSIDE:
            last = ""
            continue
        mark, label = kind.split("-", 1)
        if label != last or (mark == "B" and _begins_word(token, encoded, text)):
            runs.append([])
        runs[-1].append(token)
        last = label
    return runs


def _begins_word(token: int, encoded: Encoded, text: str) -> bool:
    start = int(encoded.offsets[token, 0])
    # Several tokens may stand for one character: its bytes, or a lone mark of a word's start.
    if token and start < encoded.offsets[token - 1, 1]:
        return False
    return start == 0 or text[start].isspace() or text[start - 1].isspace()


def _trimmed(offsets: npt.NDArray[np.int64], text: str) -> tuple[int, int]:
    """The characters of some tokens without the space that belongs to the first or last."""
    start, end = int(offsets[:, 0].min()), int(offsets[:, 1].max())
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _characters(spans: Sequence[Reference], length: int) -> list[str]:
    tags = [OUTSIDE] * length
    for start, end, label in spans:
        tags[start:end] = [f"I-{label}"] * (end - start)
        tags[start] = f"B-{label}"
    return tags
