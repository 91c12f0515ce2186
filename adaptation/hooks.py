"""What methods hang on a base: changes of values inside it, and what goes around its rows.

Hooks are collected here alone; ``slotted`` runs them.
"""

from collections import defaultdict
from collections.abc import Callable

from torch import Tensor

from adaptation.architectures import Architecture
from adaptation.branching import Change, SlotSource
from adaptation.rows import Around

Decode = Callable[[Tensor, Tensor, SlotSource], Tensor]
"""Vectors ``[..., D]``, their logits ``[..., V]``, the source → logits."""
Point = tuple[str, str, str]
"""``inputs``, ``outputs`` or ``sublayer``; the tower; the path in a layer, or the sublayer."""
EMBEDDINGS: Point = ("outputs", "embeddings", "")
VOCABULARY: Point = ("inputs", "vocabulary", "")


class Hooks:
    """The hooks of every method on one base, in the order in which they were hung."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.changes: dict[Point, list[Change]] = defaultdict(list)
        self.around: list[Around] = []
        self.decodes: list[Decode] = []

    def on_inputs(self, tower: str, path: str, change: Change) -> None:
        """Changes what a linear of every layer takes ``[B, T, D_in]``; no context."""
        self.changes["inputs", tower, path].append(change)

    def on_outputs(self, tower: str, path: str, change: Change) -> None:
        """Changes what a linear or norm of every layer gives ``[B, T, D_out]``.

        Context: what it took ``[B, T, D_in]``.
        """
        self.changes["outputs", tower, path].append(change)

    def on_sublayer(self, tower: str, sublayer: str, change: Change) -> None:
        """Changes what a sublayer of every layer adds to the residual, ``h [B, T, D]``.

        It comes after all changes of the linear that gives h. Context: the residual
        ``r [B, T, D]``, weight and bias of the norm over h + r (None when pre-norm), its epsilon,
        and D.
        """
        self.changes["sublayer", tower, sublayer].append(change)

    def on_embeddings(self, change: Change) -> None:
        """Changes what enters an encoder's first layer ``[B, T, D]``; no layer, no context."""
        self.changes[EMBEDDINGS].append(change)

    def on_vocabulary(self, change: Change) -> None:
        """Changes what meets the vocabulary ``[B, T, D]``; no layer, no context.

        What was added last comes first, so that changes of the embeddings can be undone in turn.
        """
        self.changes[VOCABULARY].insert(0, change)

    def around_rows(self, around: Around) -> None:
        """Changes whole rows before the base reads them, and what it made of them."""
        self.around.append(around)

    def on_logits(self, decode: Decode) -> None:
        """Changes the vocabulary's logits."""
        self.decodes.append(decode)
