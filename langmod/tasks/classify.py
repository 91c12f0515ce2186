"""Classification of a text or a pair of texts: topics, sentiment or inference, say."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from langmod.encoding import Encoded
from langmod.specs import BankSpec
from langmod.tasks.base import DIGITS, Example, HeadTask, TaskAnswer, softmax

if TYPE_CHECKING:
    import torch


class LabelScore(BaseModel):
    """A label and its probability."""

    label: str
    score: float


class Classified(TaskAnswer):
    """The label of a text, and all labels, the likeliest first."""

    label: str
    labels: list[LabelScore]


class Classify(HeadTask):
    """A dense layer, tanh and a linear layer over one vector per row, as XLM-R's own head."""

    kind: ClassVar[str] = "classify"

    def head_banks(self, width: int) -> tuple[BankSpec, ...]:
        """Dense layer ``[D, D]`` and output layer ``[D, C]``, each with its bias."""
        shapes: dict[str, tuple[int | str, ...]] = {
            "dense_weight": (width, width),
            "dense_bias": (width,),
            "out_weight": (width, "C.task.classify"),
            "out_bias": ("C.task.classify",),
        }
        return tuple(
            BankSpec(name=f"task.classify.{name}", role="task", shape=("S.task", *shape))
            for name, shape in shapes.items()
        )

    def head(
        self,
        hidden: "torch.Tensor",
        pool: "torch.Tensor",
        tensors: "Mapping[str, torch.Tensor]",
    ) -> "torch.Tensor":
        """``tanh(pool · hidden @ dense + bias) @ out + bias``, logits ``[B, C]``."""
        pooled = pool.unsqueeze(1) @ hidden  # [B, 1, D]
        dense = pooled @ tensors["dense_weight"] + tensors["dense_bias"].unsqueeze(1)  # [B, 1, D]
        logits = dense.tanh() @ tensors["out_weight"] + tensors["out_bias"].unsqueeze(1)
        return logits.squeeze(1)  # [B, C]

    def targets(
        self, reference: Any, encoded: Encoded, labels: Sequence[str]
    ) -> npt.NDArray[np.int64]:
        """The index of the label, a scalar."""
        return np.array(labels.index(reference), np.int64)

    def decode(self, outputs: Mapping[str, npt.NDArray[Any]], example: Example) -> Classified:
        """Every label with its probability, the likeliest first, from ``logits`` ``[C]``."""
        scores = [round(float(score), DIGITS) for score in softmax(outputs["logits"])]
        ranked = sorted(zip(scores, example.labels, strict=True), key=lambda pair: -pair[0])
        labels = [LabelScore(label=label, score=score) for score, label in ranked]
        return Classified(label=labels[0].label, labels=labels)

    def predicted(self, answer: TaskAnswer) -> str:
        """The likeliest label."""
        assert isinstance(answer, Classified), "answers are of their own task"
        return answer.label

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Accuracy and macro-F1 of labels."""
        # Not installed where models only serve.
        from sklearn.metrics import accuracy_score, f1_score

        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0)),
        }
