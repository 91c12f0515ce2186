"""What modules change in a base's forward: their arithmetic, and whose rows it concerns.

In torch changes run one after the other. How a graph runs them, each on the rows that have it and
at no cost for the others, is in ``composing.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch._C import Value
from torch.onnx.utils import register_custom_op_symbolic

from langmod.specs import Role

Arithmetic = Callable[..., Tensor]
"""TorchScript: ``(value, *context, *banks, places) → value``; it is not run for empty banks."""
Fold = Literal["factor", "shift"]


class _Graph(Protocol):
    """The part of the exporter's graph that a symbolic uses."""

    def op(self, name: str, *inputs: Value) -> Value:
        """Adds one node."""
        ...


# Operators of our own: torch's exports of the same indexing copy all slots of a layer first, and
# work out shapes at every call.
_LIBRARY = torch.library.Library("langmod", "DEF")
_LIBRARY.define("gather_rows(Tensor bank, Tensor places) -> Tensor")
_LIBRARY.define("put_rows(Tensor value, Tensor rows, Tensor part) -> Tensor")
_LIBRARY.impl(
    "gather_rows",
    lambda bank, places: bank[tuple(places.unbind(1))],
    "CompositeImplicitAutograd",
)
_LIBRARY.impl(
    "put_rows",
    lambda value, rows, part: value.index_put((rows[:, 0],), part),
    "CompositeImplicitAutograd",
)


def _gather_nd(graph: _Graph, bank: Value, places: Value) -> Value:
    return graph.op("GatherND", bank, places)


def _scatter_nd(graph: _Graph, value: Value, rows: Value, part: Value) -> Value:
    return graph.op("ScatterND", value, rows, part)


register_custom_op_symbolic("langmod::gather_rows", _gather_nd, 18)
register_custom_op_symbolic("langmod::put_rows", _scatter_nd, 18)


def gathered(bank: Tensor, places: Tensor) -> Tensor:
    """``[B, ...]`` of a bank ``[L, S, ...]`` or ``[S, ...]`` at the rows' places ``[B, 2 | 1]``."""
    return torch.ops.langmod.gather_rows(bank, places)


def put(value: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """``value [B, ...]`` with other numbers ``part [N, ...]`` in the rows ``[N, 1]``."""
    return torch.ops.langmod.put_rows(value, rows, part)


class Found(NamedTuple):
    """One tensor of several modules, and each row's own."""

    bank: Tensor
    """``[L, S, ...]``, or ``[S, ...]`` where the tensor has no layers."""
    places: Tensor
    """Layer and slot ``[B, 2]``, or slot ``[B, 1]``; one row where all take the same."""


class SlotSource(ABC):
    """Where hooks find the tensors of the modules of the rows that run now."""

    @abstractmethod
    def find(self, name: str, layer: int | None) -> Found | None:
        """A tensor of every module and where in it each row's own lies; None when not loaded.

        ``name`` is ``<role>.<tensor>``; ``layer`` None for tensors without a layer axis.
        """

    def marks(self, role: Role) -> Tensor | None:
        """At which places each row's module has tensors, ``[B, K]`` of zeros and ones.

        None: whatever is loaded, all rows run it.
        """
        del role
        return None


@dataclass(frozen=True)
class Loaded:
    """One change of a value with the banks of the modules that make it."""

    arithmetic: Arithmetic
    banks: tuple[Tensor, ...]
    places: Tensor
    """Layer and slot of each row's module ``[B, 2]``, or its slot ``[B, 1]``; one row where all
    take the same."""
    role: Role
    column: int
    """Of the marks of its role."""
    folds: Fold | None


@dataclass(frozen=True)
class Change:
    """What a method's modules of one role do to one value of a base's forward."""

    arithmetic: Arithmetic
    banks: tuple[str, ...]
    """Their names; the first has the free axis of its place, empty when no module is loaded."""
    defaults: tuple[str, ...] = ()
    """Banks ``[L, S, 1]`` or ``[S, 1]`` that follow them; a module without such a tensor takes
    zeros."""
    folds: Fold | None = None
    """Of one bank ``[L, S, E, D]``, each feature's factor less 1 or what is added to it: what a
    graph does along with the bias of a linear."""

    @property
    def role(self) -> Role:
        """Whose modules make it."""
        return "language" if self.banks[0].startswith("language.") else "task"

    def loaded(self, source: SlotSource, layer: int | None, column: int) -> Loaded | None:
        """The banks of one layer, or of none; None when no such module is loaded."""
        found = [source.find(name, layer) for name in self.banks]
        rest = [source.find(name, layer) for name in self.defaults]
        present = [each for each in found if each is not None]
        if len(present) < len(found):
            return None
        bank, places = present[0]
        zeros = bank.new_zeros(*bank.shape[: 1 if layer is None else 2], 1)
        others = [zeros if each is None else each.bank for each in rest]
        banks = (*(each.bank for each in present), *others)
        return Loaded(self.arithmetic, banks, places, self.role, column, self.folds)


def changed(value: Tensor, context: Sequence[object], changes: Sequence[Loaded]) -> Tensor:
    """A value after all changes in their order; a row without one is changed by zeros.

    ``context`` is what their arithmetic takes besides: tensors or None, numbers.
    """
    for each in changes:
        if each.banks[0].numel():
            value = each.arithmetic(value, *context, *each.banks, each.places)
    return value
