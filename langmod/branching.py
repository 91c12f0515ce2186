"""Arithmetic of modules that a graph skips while no such module is loaded.

A bank with an axis of size 0 has nothing loaded. Traced code would compute its empty products all
the same; a scripted function keeps its ``if``, which becomes an ``If`` of the exported graph. All
changes of one value are composed into one function, because every ``If`` copies what it passes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch._C import Value
from torch.jit._trace import is_tracing
from torch.onnx.utils import register_custom_op_symbolic

Arithmetic = Callable[..., Tensor]
"""TorchScript: ``(value, *context, *banks, places) → value``, unchanged for empty banks."""


class _Graph(Protocol):
    """The part of the exporter's graph that a symbolic uses."""

    def op(self, name: str, *inputs: Value) -> Value:
        """Adds one node."""
        ...


# An operator of its own: torch's exports of the same indexing copy all slots of a layer first.
_LIBRARY = torch.library.Library("langmod", "DEF")
_LIBRARY.define("gather_rows(Tensor bank, Tensor places) -> Tensor")
_LIBRARY.impl(
    "gather_rows",
    lambda bank, places: bank[tuple(places.unbind(1))],
    "CompositeImplicitAutograd",
)


def _gather_nd(graph: _Graph, bank: Value, places: Value) -> Value:
    return graph.op("GatherND", bank, places)


register_custom_op_symbolic("langmod::gather_rows", _gather_nd, 18)


def gathered(bank: Tensor, places: Tensor) -> Tensor:
    """``[B, ...]`` of a bank ``[L, S, ...]`` or ``[S, ...]`` at the rows' places ``[B, 2 | 1]``."""
    return torch.ops.langmod.gather_rows(bank, places)


class SlotSource(Protocol):
    """Where hooks find the tensors of the modules of the rows that run now."""

    def find(self, name: str, layer: int | None) -> "Found | None":
        """A tensor of every module and where in it each row's own lies; None when not loaded.

        ``name`` is ``<role>.<tensor>``; ``layer`` None for tensors without a layer axis.
        """
        ...


class Found(NamedTuple):
    """One tensor of several modules, and each row's own."""

    bank: Tensor
    """``[L, S, ...]``, or ``[S, ...]`` where the tensor has no layers."""
    places: Tensor
    """Layer and slot ``[B, 2]``, or slot ``[B, 1]``; one row where all take the same."""


@dataclass(frozen=True)
class Loaded:
    """One change of a value with the banks of the modules that make it."""

    arithmetic: Arithmetic
    banks: tuple[Tensor, ...]
    places: Tensor
    """Layer and slot of each row's module ``[B, 2]``, or its slot ``[B, 1]``; one row where all
    take the same."""


@dataclass(frozen=True)
class Change:
    """What a method's modules of one role do to one value of a base's forward."""

    arithmetic: Arithmetic
    banks: tuple[str, ...]
    """Their names; the first is empty exactly when no such module is loaded."""
    defaults: tuple[str, ...] = ()
    """Banks ``[L, S, 1]`` or ``[S, 1]`` that follow them; a module without such a tensor takes
    zeros."""

    def loaded(self, source: SlotSource, layer: int | None) -> Loaded | None:
        """The banks of one layer, or of none; None when no such module is loaded."""
        found = [source.find(name, layer) for name in self.banks]
        rest = [source.find(name, layer) for name in self.defaults]
        present = [each for each in found if each is not None]
        if len(present) < len(found):
            return None
        bank, places = present[0]
        zeros = bank.new_zeros(*bank.shape[: 1 if layer is None else 2], 1)
        others = [zeros if each is None else each.bank for each in rest]
        return Loaded(self.arithmetic, (*(each.bank for each in present), *others), places)


def changed(value: Tensor, context: Sequence[object], changes: Sequence[Loaded]) -> Tensor:
    """A value after all changes in their order; in a graph skipped as a whole while none is loaded.

    ``context`` is what their arithmetic takes besides: tensors or None, numbers.
    """
    if not changes:
        return value
    if not is_tracing():
        for each in changes:
            value = each.arithmetic(value, *context, *each.banks, each.places)
        return value
    kinds = tuple(_kind(each) for each in context)
    function = _composed(tuple((each.arithmetic, len(each.banks)) for each in changes), kinds)
    tensors = [tensor for each in changes for tensor in (*each.banks, each.places)]
    return function(value, *context, *tensors)


def _kind(value: object) -> str:
    """The TorchScript type of a part of the context."""
    if isinstance(value, Tensor):
        return "Tensor"
    return "Optional[Tensor]" if value is None else type(value).__name__


@cache
def _composed(changes: tuple[tuple[Arithmetic, int], ...], kinds: tuple[str, ...]) -> Arithmetic:
    """The changes one after the other as one scripted function, behind one ``if``."""
    context = [f"context{number}" for number in range(len(kinds))]
    heads = [f"{name}: {kind}" for name, kind in zip(context, kinds, strict=True)]
    calls, sizes, functions = [], [], {}
    for number, (arithmetic, count) in enumerate(changes):
        names = [f"bank{number}_{place}" for place in range(count)] + [f"places{number}"]
        heads += [f"{name}: Tensor" for name in names]
        functions[f"change{number}"] = torch.jit.script(arithmetic)
        calls.append(f"    value = change{number}({', '.join(['value', *context, *names])})")
        sizes.append(f"{names[0]}.numel()")
    lines = [
        f"def composed({', '.join(['value: Tensor', *heads])}) -> Tensor:",
        f"    if {' + '.join(sizes)} == 0:",
        "        return value",
        *calls,
        "    return value",
    ]
    return _compiled("\n".join([*lines, ""]), functions)


def _compiled(source: str, functions: Mapping[str, Arithmetic]) -> Arithmetic:
    unit = torch.jit.CompilationUnit()
    unit.define(source, rcb=lambda name: functions.get(name, getattr(torch, name, None)))
    return unit.composed
