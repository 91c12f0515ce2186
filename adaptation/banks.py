"""The banks of a base: what stacks the tensors of many modules, and which of them a module has.

A bank's specification is in ``specs``; how rows gather from it, in ``branching``.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from adaptation.architectures import Architecture
from adaptation.methods import METHODS
from langmod.specs import ROLES, BankSpec, Role
from langmod.tasks import TASKS

MARKS = "marks"
"""Name of the bank of each role that no module brings."""


def banks_of(architecture: Architecture) -> tuple[BankSpec, ...]:
    """Every bank that the registered methods and task heads need on a base."""
    banks = [
        bank
        for role in ROLES
        for method in METHODS.values()
        for bank in method.banks(architecture, role)
    ]
    if architecture.kind == "encoder":
        banks += [bank for task in TASKS.values() for bank in task.head_banks(architecture.width)]
    marks = [_marks_of(role, banks) for role in ROLES]
    return (*banks, *marks)


def _marks_of(role: Role, banks: Iterable[BankSpec]) -> BankSpec:
    """The bank that says at which places the modules of a role have tensors."""
    own = [bank.place for bank in banks if bank.role == role and bank.held == "slots"]
    places = tuple(dict.fromkeys(each for each in own if each is not None))
    shape = (f"S.{role}", len(places))
    return BankSpec(name=f"{role}.{MARKS}", role=role, shape=shape, marks=places)


def columns_of(banks: Iterable[BankSpec]) -> dict[str, int]:
    """Bank with a free axis → its place's column of the marks."""
    known = tuple(banks)
    columns = {
        (bank.role, place): column for bank in known for column, place in enumerate(bank.marks)
    }
    return {
        bank.name: columns[bank.role, bank.place or ""]
        for bank in known
        if (bank.role, bank.place or "") in columns
    }


def stack_banks(
    banks: Iterable[BankSpec], modules: Sequence[tuple[Role, Mapping[str, Tensor]]]
) -> dict[str, Tensor]:
    """Banks of some modules in torch: slot 0 is zero, each role's modules follow in their order.

    A free axis is as wide as the widest module; banks that no module fills are left out.
    """
    known, found = tuple(banks), {}
    for bank in known:
        if bank.marks:
            found[bank.name] = _marks(bank, known, modules)
            continue
        rows = [tensors.get(bank.tensor) for role, tensors in modules if role == bank.role]
        shapes = [row.shape for row in rows if row is not None]
        if shapes:
            widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
            padded = [_padded(row, widest) for row in [None, *rows]]
            found[bank.name] = torch.stack(padded, bank.slot_axis)
    return found


def _marks(
    marks: BankSpec, banks: Iterable[BankSpec], modules: Sequence[tuple[Role, Mapping[str, Tensor]]]
) -> Tensor:
    """``[S, K]``: at which places each module of a role has tensors."""
    places = {bank.tensor: bank.place for bank in banks if bank.role == marks.role}
    rows = [[0.0] * len(marks.marks)]
    for role, tensors in modules:
        if role == marks.role:
            own = {places.get(name) for name in tensors}
            rows.append([float(place in own) for place in marks.marks])
    return torch.tensor(rows)


def _padded(row: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    values = torch.zeros(shape)
    if row is not None:
        values[tuple(slice(0, size) for size in row.shape)] = row
    return values
