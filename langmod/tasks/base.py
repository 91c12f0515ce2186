"""The form of a task: text → tokens, the head as a formula, numbers → answer, and its scores.

Pure functions shared by training, export, benchmarks and service, so that they cannot differ.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from langmod.encoding import Encoded, TextEncoder
from langmod.specs import BankSpec, BaseSpec

if TYPE_CHECKING:
    import torch

Text = str | tuple[str, str]
FloatArray = npt.NDArray[np.floating[Any]]
Array = npt.NDArray[Any]
RunHead = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Runs a head's graph: its inputs by name, those of banks left out, to its outputs by name."""
TASKS: "dict[str, Task]" = {}
"""Kind → task."""


class TaskAnswer(BaseModel):
    """What a task answers about one text; each task has its own."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class Example:
    """What a task must know of a row to turn its numbers into an answer."""

    text: Text
    encoded: Encoded
    encoder: TextEncoder
    labels: tuple[str, ...] = ()
    top_k: int = 5


@dataclass(frozen=True, eq=False)
class HeadBatch:
    """The rows of a batch that one head reads."""

    examples: Sequence[Example]
    hidden: Array
    """Hidden states, ``[B, T, D]``."""
    slots: Array
    """``[B, 2]``: language slot, task slot."""
    tokens: Sequence[slice]
    """Where the tokens of each row lie, behind its soft prompts."""
    pooled: Sequence[slice]
    """The positions whose mean each row's head reads, as its module was trained."""
    lower: Mapping[str, Array] = field(default_factory=dict)
    """Layers below the last that the base's own head reads too, ``[B, T, D]`` each."""

    @property
    def pool(self) -> Array:
        """``[B, T]``: weights of the positions that each row's head reads."""
        pool = np.zeros(self.hidden.shape[:2], np.float32)
        for weights, read in zip(pool, self.pooled, strict=True):
            weights[read] = 1 / (read.stop - read.start)
        return pool

    def trimmed(self, values: Array) -> list[Array]:
        """``[B, T, …]`` row by row, the tokens alone."""
        return [value[tokens] for value, tokens in zip(values, self.tokens, strict=True)]


class Task(ABC):
    """One kind of question; a subclass with a ``kind`` is found in ``TASKS``."""

    kind: ClassVar[str]
    answers_in_words: ClassVar[bool] = False
    """Whether its head is a vocabulary's: a module's own where the row has one."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in cls.__dict__:
            return
        if cls.kind in TASKS:
            raise TypeError(f"two tasks of kind {cls.kind!r}: {cls} and {type(TASKS[cls.kind])}")
        TASKS[cls.kind] = cls()

    def worded(self, text: Text, purpose: str | None, base: BaseSpec) -> Text:
        """A text as the base was trained to read it, for the purpose that a request names.

        Raises:
            BadRequest: a purpose that this task or base does not tell apart.
        """
        del purpose, base
        return text

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
    def run(self, batch: HeadBatch, head: RunHead) -> list[Mapping[str, Array]]:
        """What its head gives for each row, from hidden states."""

    @abstractmethod
    def decode(self, outputs: Mapping[str, npt.NDArray[Any]], example: Example) -> TaskAnswer:
        """The answer for one row from what its head gave for that row."""

    @abstractmethod
    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Metrics between 0 and 1 by name."""


class HeadTask(Task):
    """A task whose head is a module's: its tensors are bank rows and every row has its own."""

    def run(self, batch: HeadBatch, head: RunHead) -> list[Mapping[str, Array]]:
        """Logits ``[C]`` or ``[T, C]`` of each row, for its own labels alone."""
        feeds = {"hidden": batch.hidden, "pool": batch.pool, "slots": batch.slots}
        logits = head(feeds)["logits"]  # [B, C] or [B, T, C]
        own = batch.trimmed(logits) if logits.ndim == 3 else list(logits)
        return [
            {"logits": each[..., : len(example.labels)]}
            for example, each in zip(batch.examples, own, strict=True)
        ]

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
    def predicted(self, answer: TaskAnswer) -> Any:
        """An answer in the form of a reference, as ``score`` takes both."""

    @abstractmethod
    def targets(
        self, reference: Any, encoded: Encoded, labels: Sequence[str]
    ) -> npt.NDArray[np.int64]:
        """What the logits of one row are trained towards: indices into labels, or ``IGNORED``."""


DIGITS = 6
"""Decimal places of scores and vectors in answers."""
IGNORED = -100
"""The target of a token that the loss leaves out, as in torch's cross entropy."""


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
