"""Changes of a value as TorchScript: traced code keeps no ``if``, so their code is written here.

Every function is written from its parts once; ``composing.py`` says when they run.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adaptation.branching import Arithmetic, Fold, Group, gathered, put
from langmod.specs import ROLES, Role

ROW_AXES = 3
"""Axes of what has a row for each row of the batch, ``[B, T, D]``; weights have fewer."""
Producer = Literal["value", "sum", "norm"]
PRODUCERS: Mapping[Producer, str] = {
    "value": "first",
    "sum": "first + second",
    "norm": "torch.layer_norm(first, [width], second, third, number)",
}
"""How a value comes from what it is made of: TorchScript."""
PARTS = ("first: Tensor", "second: Tensor", "third: Tensor", "width: int", "number: float")


class Shape(NamedTuple):
    """What of a group its code follows."""

    changes: tuple[tuple[Arithmetic, Role, int, int], ...]
    """Arithmetic, role, column of its marks, number of banks."""
    kinds: tuple[str, ...]
    """TorchScript types of the context."""
    rows: tuple[bool, ...]
    """Whether a part of the context has a row for each of the batch."""
    rescaled: bool
    """Whether factors follow."""

    @classmethod
    def of(cls, group: Group) -> "Shape":
        """A group's."""
        changes = tuple(
            (each.arithmetic, each.role, each.column, len(each.banks)) for each in group.changes
        )
        rows = tuple(isinstance(each, Tensor) and each.dim() == ROW_AXES for each in group.context)
        return cls(changes, tuple(map(_kind, group.context)), rows, group.factor is not None)


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return "Tensor"
    return "Optional[Tensor]" if value is None else type(value).__name__


@cache
def composed(producer: Producer, stages: tuple[tuple[Shape, ...], ...]) -> Arithmetic:
    """Stages of changes one after the other as one scripted function."""
    heads = [*PARTS, *(f"{role}: Tensor" for role in ROLES)]
    heads += [f"any_{role}: Tensor" for role in ROLES]
    functions: dict[str, Arithmetic] = {"gathered": gathered, "put": put}
    # Tracing tells tensors apart by identity: what is handed on must be another one.
    bare = "first.clone()" if producer == "value" and stages else PRODUCERS[producer]
    body = [f"value = {PRODUCERS[producer]}"]
    without = [f"value = {bare}"]
    for number, stage in enumerate(stages):
        heads.append(f"active{number}: Tensor")
        changes: list[str] = []
        for place, group in enumerate(stage):
            mine = f"s{number}g{place}"
            heads += _heads(mine, group)
            functions |= {
                f"{mine}_{at}": torch.jit.script(each[0]) for at, each in enumerate(group.changes)
            }
            changes += _group(mine, group)
        # The value is made in both branches, so that neither of them hands it on.
        inner = body if number == 0 else without
        body = [
            f"if bool(active{number}):",
            *_indented([*inner, *changes]),
            "else:",
            *_indented(without),
        ]
        without = body
    lines = [f"def composed({', '.join(heads)}) -> Tensor:", *_indented(body), "    return value"]
    return _compiled("\n".join([*lines, ""]), functions)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _heads(mine: str, group: Shape) -> Iterator[str]:
    """Parameters of a group."""
    yield from (f"{mine}_context{at}: {kind}" for at, kind in enumerate(group.kinds))
    if group.rescaled:
        yield from (f"{mine}_factor: Tensor", f"{mine}_addend: Tensor")
    for number, (_, _, _, count) in enumerate(group.changes):
        for name in (*(f"bank{at}" for at in range(count)), "places"):
            yield f"{mine}_{number}_{name}: Tensor"


def _group(mine: str, group: Shape) -> Iterator[str]:
    """Changes of ``value``, which all start from it as it is and are put into it together."""
    names = [f"{mine}_{number}" for number in range(len(group.changes))]
    for own, (_, role, column, count) in zip(names, group.changes, strict=True):
        rows = f"{own}_rows"
        yield f"{rows} = {role}.select(1, {column}).nonzero()"
        context = [
            f"gathered({mine}_context{at}, {rows})" if has_rows else f"{mine}_context{at}"
            for at, has_rows in enumerate(group.rows)
        ]
        banks = [f"{own}_bank{at}" for at in range(count)]
        taken = [f"gathered(value, {rows})", *context, *banks, f"gathered({own}_places, {rows})"]
        # ONNX Runtime 1.31 does not reduce what is empty.
        yield f"if bool(any_{role}[{column}]):"
        yield f"    {own}_new = {own}({', '.join(taken)})"
        yield "else:"
        yield f"    {own}_new = gathered(value, {rows})"
    if len(names) == 1:
        yield f"rows, new = {names[0]}_rows, {names[0]}_new"
    else:
        for part in ("rows", "new"):
            yield f"{part} = torch.cat([{', '.join(f'{name}_{part}' for name in names)}])"
    if group.rescaled:
        # Either has one row where no module of its kind is loaded.
        late = [
            f"gathered({mine}_{part}, torch.clamp(rows, max={mine}_{part}.size(0) - 1))"
            for part in ("factor", "addend")
        ]
        yield f"new = new * {late[0]} + {late[1]}"
    yield "value = put(value, rows, new)"


@cache
def shifted_norm() -> Arithmetic:
    """A norm, with ``[B, 1, D]`` added where any row has a shift."""
    norm = PRODUCERS["norm"]
    return _compiled(
        f"def composed({', '.join(PARTS)}, shift: Tensor, active: Tensor) -> Tensor:\n"
        f"    if bool(active):\n        value = {norm} + shift\n"
        f"    else:\n        value = {norm}\n    return value\n",
        {},
    )


@cache
def folding(folds: tuple[tuple[Role, Fold], ...]) -> Any:
    """``(bias [D], keeps [B | 1, 1, 1], active, *banks and places)`` → what ``_Folded`` holds."""
    heads = ["bias: Tensor", "keeps: Tensor", "active: Tensor"]
    body = []
    for number, (role, fold) in enumerate(folds):
        heads += [f"bank{number}: Tensor", f"places{number}: Tensor"]
        body.append(f"if bank{number}.numel() > 0:")
        body.append(f"    own = gathered(bank{number}, places{number})")
        changed = ("factor", "addend") if fold == "factor" else ("addend",)
        if role == "task":
            for name in (f"late_{each}" for each in changed):
                how = f"{name} * own" if fold == "factor" else "own"
                body.append(f"    {name} = {name} + {how}")
            body.append("    own = own * keeps")
        for name in changed:
            how = f"{name} * own" if fold == "factor" else "own"
            body.append(f"    {name} = {name} + {how}")
    lines = [
        f"def composed({', '.join(heads)}) -> Tuple[Tensor, Tensor, Tensor, Tensor]:",
        "    factor = torch.ones([1, 1, 1], dtype=bias.dtype, device=bias.device)",
        "    addend = bias.view(1, 1, -1)",
        # Unlike the first: equal ones would be one output twice, which ONNX Runtime mixes up.
        "    late_factor = torch.ones([1, 1], dtype=bias.dtype, device=bias.device).unsqueeze(0)",
        "    late_addend = torch.zeros([1, 1, 1], dtype=bias.dtype, device=bias.device)",
        "    if bool(active):",
        *(f"        {line}" for line in body),
        "    return factor, addend, late_factor, late_addend",
    ]
    return _compiled("\n".join([*lines, ""]), {"gathered": gathered})


def _compiled(source: str, functions: Mapping[str, Arithmetic]) -> Arithmetic:
    unit = torch.jit.CompilationUnit()
    unit.define(source, rcb=lambda name: functions.get(name, getattr(torch, name, None)))
    return unit.composed
