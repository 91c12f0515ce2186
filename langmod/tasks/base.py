"""The form of a task: text → tokens, the head as a formula, numbers → answer, and its scores.

Pure functions shared by training, export, benchmarks and service, so that they cannot differ.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from langmod.encoding import Encoded, TextEncoder
from langmod.specs import BankSpec

if TYPE_CHECKING:
    import torch

Text = str | tuple[str, str]
FloatArray = npt.NDArray[np.floating[Any]]
Answer = dict[str, Any]
"""Plain JSON."""
TASKS: "dict[str, Task]" = {}
"""Kind → task."""


@dataclass(frozen=True)
class Example:
    """What a task must know of a row to turn its numbers into an answer."""

    text: Text
    encoded: Encoded
    encoder: TextEncoder
    labels: tuple[str, ...] = ()
    top_k: int = 5


class Task(ABC):
    """One kind of question; a subclass with a ``kind`` is found in ``TASKS``."""

    kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in cls.__dict__:
            return
        if cls.kind in TASKS:
            raise TypeError(f"two tasks of kind {cls.kind!r}: {cls} and {type(TASKS[cls.kind])}")
        TASKS[cls.kind] = cls()

    def encode(self, encoder: TextEncoder, text: Text, *, truncate: bool = False) -> Encoded:
        """A text, or pair of texts, as this task reads it.

        Raises:
            BadRequest: the text cannot be read by this task or base.
        """
        first, second = (text, None) if isinstance(text, str) else text
        return encoder.encode(first, second, truncate=truncate)

    def head_banks(self, width: int) -> tuple[BankSpec, ...]:
        """The banks of its head, named ``task.<kind>.<tensor>``; none if the base has the head."""
        return ()

    @abstractmethod
    def decode(self, outputs: Mapping[str, npt.NDArray[Any]], example: Example) -> Answer:
        """The answer for one row from what its graph gave for that row."""

    @abstractmethod
    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Metrics between 0 and 1 by name."""


class HeadTask(Task):
    """A task whose head is a module's: its tensors are bank rows and every row has its own."""

    @abstractmethod
    def head(
        self,
        hidden: "torch.Tensor",
        pool: "torch.Tensor",
        tensors: "Mapping[str, torch.Tensor]",
    ) -> "torch.Tensor":
        """The head as a formula, traced into the graph and run in training alike.

        Args:
            hidden: ``[B, T, D]``.
            pool: ``[B, T]`` weights that sum to 1 in each row.
            tensors: the part of the bank name after the kind → that tensor per row, ``[B, ...]``.

        Returns:
            Logits, ``[B, C]`` or ``[B, T, C]``.
        """

    @abstractmethod
    def targets(
        self, reference: Any, encoded: Encoded, labels: Sequence[str]
    ) -> npt.NDArray[np.int64]:
        """What the logits of one row are trained towards: indices into labels, or ``IGNORED``."""


DIGITS = 6
"""To which scores and vectors are answered."""
IGNORED = -100
"""The target of a token that the loss leaves out, as in torch's cross entropy."""


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
