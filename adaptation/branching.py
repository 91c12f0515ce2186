"""What modules change in a base's forward: their arithmetic, and whose rows it concerns.

In torch changes run one after the other. How a graph runs them, each on the rows that have it and
at no cost for the others, is in ``export/composing.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from langmod.specs import Role

Arithmetic = Callable[..., Tensor]
"""TorchScript: ``(value, *context, *banks, places) → value``; it is not run for empty banks."""
Fold = Literal["factor", "shift"]


# Operators of our own: an export makes quicker nodes of them than of torch's indexing.
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


def gathered(bank: Tensor, places: Tensor) -> Tensor:
    """``[B, ...]`` of a bank ``[L, S, ...]`` or ``[S, ...]`` at the rows' places ``[B, 2 | 1]``."""
    return torch.ops.langmod.gather_rows(bank, places)


def put(value: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """``value [B, ...]`` with other numbers ``part [N, ...]`` in the rows ``[N, 1]``."""
    return torch.ops.langmod.put_rows(value, rows, part)


class Lookup(NamedTuple):
    """One tensor of several modules, and each row's own."""

    bank: Tensor
    """``[L, S, ...]``, or ``[S, ...]`` where the tensor has no layers."""
    places: Tensor
    """Layer and slot ``[B, 2]``, or slot ``[B, 1]``; one row where all take the same."""


class SlotSource(ABC):
    """Where hooks find the tensors of the modules of the rows that run now."""

    @abstractmethod
    def find(self, name: str, layer: int | None) -> Lookup | None:
        """A tensor of every module and where in it each row's own lies; None when not loaded.

        ``name`` is ``<role>.<tensor>``; ``layer`` None for tensors without a layer axis.
        """

    def marks(self, role: Role) -> Tensor | None:
        """Says at which places each row's module has tensors, ``[B, K]`` of zeros and ones.

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
    """The column of its place in the marks of its role."""
    folds: Fold | None


@dataclass(frozen=True)
class Change:
    """What a method's modules of one role do to one value of a base's forward."""

    arithmetic: Arithmetic
    banks: tuple[str, ...]
    """The names of its banks; the first has the free axis of its place, empty when no module is
    loaded."""
    defaults: tuple[str, ...] = ()
    """Banks ``[L, S, 1]`` or ``[S, 1]`` that follow them; a module without such a tensor takes
    zeros."""
    folds: Fold | None = None
    """How a graph folds its one bank ``[L, S, E, D]`` into a linear: each feature's factor less 1
    or what is added to it: what a graph does along with the bias of a linear."""

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


@dataclass(frozen=True)
class Group:
    """Changes of one role of which each row has one at most, with their arithmetic's context."""

    changes: Sequence[Loaded]
    context: tuple[object, ...] = ()
    factor: Tensor | None = None
    """``[B | 1, 1, D]``: what their rows are multiplied with afterwards."""
    addend: Tensor | None = None
    """``[B | 1, 1, D]``: and what is added then; with ``factor`` or not at all."""


class Composing(Protocol):
    """What runs the changes of one batch in a graph: each on the rows that have it alone."""

    def value(self, value: Tensor, groups: Sequence[Group]) -> Tensor:
        """``value [B, T, D]`` after the groups' changes."""
        ...

    def norm(self, norm: nn.LayerNorm, value: Tensor, own: Sequence[Loaded]) -> Tensor:
        """A norm's output after its own changes, whose context is what it takes."""
        ...

    def linear(
        self, linear: nn.Linear, inputs: Tensor, own: Sequence[Loaded], after: Sequence[Group]
    ) -> Tensor:
        """A linear's output after its ``own`` changes, whose context is its input, then others'."""
        ...
