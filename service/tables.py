"""The banks of one role as tensors: how large they are, and a module's numbers in a slot.

What lies where and for how long is decided in ``slots.py``.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langmod.specs import BankSpec, Role
from langmod.store import Module

DTYPE = np.dtype(np.float32)
Widths = Mapping[str, int]
"""Free axis (a rank, the labels of a head) → size."""


@dataclass(frozen=True, eq=False)
class Table:
    """One bank's tensor as it was at one time; each change of its contents makes another table."""

    tensor: np.ndarray


@dataclass(frozen=True)
class Layout:
    """The sizes of a role's banks that follow what lies in them."""

    slots: int
    """Slot 0, which stays zeros, included."""
    widths: Widths

    def beside(self, widths: Widths) -> "Layout":
        """Returns a layout of one slot more, wide enough for the module that lies there."""
        wider = {axis: max(self.widths[axis], size) for axis, size in widths.items()}
        return Layout(self.slots + 1, {**self.widths, **wider})

    def is_as_wide_as(self, widths: Widths) -> bool:
        """Whether a module of these widths finds place."""
        return all(self.widths[axis] >= size for axis, size in widths.items())


class Tables:
    """The banks of one role in one layout after another."""

    def __init__(self, specs: Sequence[BankSpec], role: Role) -> None:
        self._specs = {
            spec.tensor: spec for spec in specs if spec.role == role and spec.held == "slots"
        }
        self._free = {name: _free_axes(spec) for name, spec in self._specs.items()}
        self._terms = _terms(self._specs.values())
        self.bare = Layout(1, {axis: 0 for axes in self._terms for axis in axes})
        """The layout of banks without any module."""
        self.current: dict[str, Table] = {}
        """Bank → its tensor now."""
        self._written: dict[int, frozenset[str]] = {}
        """Slot → names of the tensors that may be other than zero there."""
        self.lay_out(self.bare, {})

    def take(self, module: Module) -> bool:
        """Whether any of a module's tensors lies here; the others are held in memory alone."""
        return not self._specs.keys().isdisjoint(module.tensors)

    def widths(self, module: Module) -> Widths:
        """How wide the banks must be for a module."""
        found: dict[str, int] = {}
        for name, tensor in module.tensors.items():
            for place, axis in self._free.get(name, ()):
                found[axis] = max(found.get(axis, 0), tensor.shape[place])
        return found

    def nbytes(self, layout: Layout) -> int:
        """Bytes of banks in a layout, padding included."""
        a_slot = sum(
            size * math.prod(layout.widths[axis] for axis in axes)
            for axes, size in self._terms.items()
        )
        return layout.slots * a_slot * DTYPE.itemsize

    def lay_out(self, layout: Layout, moves: Mapping[int, int]) -> None:
        """Makes other tensors, with the contents of some slots in other slots: from → to.

        The tensors that were there stay as they are with whoever was given them.
        """
        self.current = {
            spec.name: self._moved(spec, layout, moves) for spec in self._specs.values()
        }
        self._written = {to: self._written[source] for source, to in moves.items()}
        self.layout = layout

    def write(self, slot: int, module: Module) -> None:
        """Puts a module in a slot, and zeros where the slot's last one had more."""
        touched = self._written.get(slot, frozenset()) | module.tensors.keys()
        # Noted before the writes: what fails half-way is still wiped by the next module there.
        self._written[slot] = touched
        for name in touched & self._specs.keys():
            self._write(self._specs[name], slot, module.tensors.get(name))
        self._mark(slot, module)
        self._written[slot] = frozenset(module.tensors)

    def _mark(self, slot: int, module: Module) -> None:
        """Says at which places a slot's module has tensors."""
        own = {self._specs[name].place for name in module.tensors.keys() & self._specs.keys()}
        for spec in self._specs.values():
            if spec.marks:
                self._write(spec, slot, np.array([place in own for place in spec.marks], DTYPE))

    def _write(self, spec: BankSpec, slot: int, tensor: np.ndarray | None) -> None:
        table = self.current[spec.name]
        place = table.tensor[_index(spec, slot)]
        if tensor is None or tensor.shape != place.shape:
            place[...] = 0
        if tensor is not None:
            place[tuple(map(slice, tensor.shape))] = tensor
        self.current[spec.name] = Table(table.tensor)

    def _moved(self, spec: BankSpec, layout: Layout, moves: Mapping[int, int]) -> Table:
        sizes = {f"S.{spec.role}": layout.slots, **layout.widths}
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape]
        table = Table(np.zeros(shape, DTYPE))
        for source, to in moves.items():
            before = self.current[spec.name].tensor[_index(spec, source)]
            after = table.tensor[_index(spec, to)]
            # What a narrower layout leaves out is padding.
            shared = tuple(map(slice, map(min, before.shape, after.shape)))
            after[shared] = before[shared]
        return table


def _index(spec: BankSpec, slot: int) -> tuple[slice | int, ...]:
    """Where a slot lies in its bank."""
    return (*[slice(None)] * spec.slot_axis, slot)


def _free_axes(spec: BankSpec) -> list[tuple[int, str]]:
    """Those of a module's tensor that any size fits, with their places."""
    return [(place, axis) for place, axis in enumerate(spec.row_shape) if isinstance(axis, str)]


def _terms(specs: Iterable[BankSpec]) -> dict[tuple[str, ...], int]:
    """Free axes → how many numbers a slot holds for each unit of their product."""
    terms: dict[tuple[str, ...], int] = defaultdict(int)
    for spec in specs:
        axes = tuple(axis for _, axis in _free_axes(spec))
        terms[axes] += math.prod(axis for axis in spec.row_shape if isinstance(axis, int))
    return dict(terms)
