"""Changes of a base's values as an exported graph runs them.

Rows whose module makes a change are taken out of a batch, changed, and put back; the others pass.
A value is computed inside an ``If``, with its changes in one branch and without in the other:
branches that merely hand a value on would copy it. What multiplies a linear's features or is added
to them is folded into its scale and bias, and costs no pass over the rows.

Traced code keeps no ``if``, so the functions are written as TorchScript from their parts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from langmod.branching import Arithmetic, Fold, Loaded, SlotSource, gathered, put
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


@dataclass(frozen=True)
class Group:
    """Changes of one role of which each row has one at most, with their arithmetic's context."""

    changes: Sequence[Loaded]
    context: tuple[object, ...] = ()
    factor: Tensor | None = None
    """``[B | 1, 1, D]``: what their rows are multiplied with afterwards."""
    addend: Tensor | None = None
    """``[B | 1, 1, D]``: and what is added then; with ``factor`` or not at all."""


Stage = Sequence[Group]
"""Groups behind one ``if``, one after the other."""


class Composer:
    """The changes of one batch; what several places ask of its rows is worked out once."""

    def __init__(self, source: SlotSource) -> None:
        self._source = source
        self._known: dict[object, Tensor] = {}

    def value(self, value: Tensor, groups: Stage) -> Tensor:
        """``value [B, T, D]`` after the groups' changes."""
        return self._run("value", (value, value, value), (0, 0.0), [groups])

    def norm(self, norm: nn.LayerNorm, value: Tensor, own: Sequence[Loaded]) -> Tensor:
        """A norm's output after its own changes, whose context is what it takes."""
        numbers = (value.shape[-1], float(norm.eps))
        parts = (value, norm.weight, norm.bias)
        if own and all(each.folds == "shift" for each in own):
            zeros = torch.zeros_like(norm.bias)
            shift = self._folded(zeros, own, None).addend
            return _shifted_norm()(*parts, *numbers, shift, self._any(own))
        groups = [Group([each for each in own if each.role == role], (value,)) for role in ROLES]
        return self._run("norm", parts, numbers, [groups])

    def linear(
        self, linear: nn.Linear, inputs: Tensor, own: Sequence[Loaded], after: Stage
    ) -> Tensor:
        """A linear's output after its ``own`` changes, whose context is its input, then others'."""
        folded = [each for each in own if each.folds is not None]
        language, task = (
            [each for each in own if each.role == role and each.folds is None] for role in ROLES
        )
        bias: Tensor | None = linear.bias
        if bias is None:
            bias = linear.weight.new_zeros(len(linear.weight))
        product = functional.linear(inputs, linear.weight)
        first = Group(language, (inputs,))
        if folded:
            # Where a language changes a row's output, the task's features change it afterwards.
            found = self._folded(bias, folded, self._rows_of(language))
            product, bias = product * found.factor, found.addend
            if language:
                first = Group(language, (inputs,), found.late_factor, found.late_addend)
        stages = [[first, Group(task, (inputs,))], after]
        return self._run("sum", (product, bias, bias), (0, 0.0), stages)

    def _folded(self, bias: Tensor, folded: Sequence[Loaded], late: Tensor | None) -> "_Folded":
        """What folds make of a bias ``[D]``; ``late [B]`` is 1 where the task's wait."""
        keeps = bias.new_ones(1, 1, 1) if late is None else (1 - late).unsqueeze(1).unsqueeze(2)
        tensors = [tensor for each in folded for tensor in (*each.banks, each.places)]
        function = _folding(tuple((each.role, each.folds) for each in folded if each.folds))
        return _Folded(*function(bias, keeps, self._any(folded), *tensors))

    def _run(
        self,
        producer: Producer,
        parts: tuple[Tensor, Tensor, Tensor],
        numbers: tuple[int, float],
        stages: Sequence[Stage],
    ) -> Tensor:
        """What ``producer`` makes of its parts, after the changes of all stages."""
        tensors: list[object] = [self._marks(role) for role in ROLES]
        tensors += [self._anyone(role) for role in ROLES]
        shapes = []
        for stage in stages:
            present = [group for group in stage if group.changes]
            if not present:
                continue
            shapes.append(tuple(_Shape.of(group) for group in present))
            tensors.append(self._any([each for group in present for each in group.changes]))
            for group in present:
                after = (group.factor, group.addend)
                tensors += [*group.context, *(each for each in after if each is not None)]
                for change in group.changes:
                    tensors += [*change.banks, change.places]
        found: Tensor = _composed(producer, tuple(shapes))(*parts, *numbers, *tensors)
        return found

    def _marks(self, role: Role) -> Tensor:
        """``[B, K]``: at which places the rows' modules of a role have tensors."""
        if role not in self._known:
            found = self._source.marks(role)
            assert found is not None, "rows that cannot be told apart need no composition"
            self._known[role] = found
        return self._known[role]

    def _any(self, changes: Sequence[Loaded]) -> Tensor:
        """Whether any row has any of some changes: 1 or 0."""
        keys = tuple(sorted({(each.role, each.column) for each in changes}))
        if keys not in self._known:
            if "anyone" not in self._known:
                self._known["anyone"] = torch.cat([self._marks(role).amax(0) for role in ROLES])
            width = self._marks(ROLES[0]).shape[1]
            places = [column + width * ROLES.index(role) for role, column in keys]
            chosen = self._known["anyone"].index_select(0, torch.tensor(places))
            self._known[keys] = chosen.amax()
        return self._known[keys]

    def _anyone(self, role: Role) -> Tensor:
        """``[K]``: at which places any row's module has tensors, true or false."""
        key = ("anyone", role)
        if key not in self._known:
            self._known[key] = self._marks(role).amax(0) > 0
        return self._known[key]

    def _rows_of(self, changes: Sequence[Loaded]) -> Tensor | None:
        """``[B]``, 1 in rows that have any of some changes of one role; None without changes."""
        if not changes:
            return None
        key = ("rows", changes[0].role, *(each.column for each in changes))
        if key not in self._known:
            columns = torch.tensor([each.column for each in changes])
            self._known[key] = self._marks(changes[0].role).index_select(1, columns).amax(1)
        return self._known[key]


class _Folded(NamedTuple):
    """Factors and addends of features, each ``[B, 1, D]``, or of one row where none changes."""

    factor: Tensor
    addend: Tensor
    late_factor: Tensor
    late_addend: Tensor


class _Shape(NamedTuple):
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
    def of(cls, group: Group) -> "_Shape":
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
def _composed(producer: Producer, stages: tuple[tuple[_Shape, ...], ...]) -> Arithmetic:
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


def _heads(mine: str, group: _Shape) -> Iterator[str]:
    """Parameters of a group."""
    yield from (f"{mine}_context{at}: {kind}" for at, kind in enumerate(group.kinds))
    if group.rescaled:
        yield from (f"{mine}_factor: Tensor", f"{mine}_addend: Tensor")
    for number, (_, _, _, count) in enumerate(group.changes):
        for name in (*(f"bank{at}" for at in range(count)), "places"):
            yield f"{mine}_{number}_{name}: Tensor"


def _group(mine: str, group: _Shape) -> Iterator[str]:
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
def _shifted_norm() -> Arithmetic:
    """A norm, with ``[B, 1, D]`` added where any row has a shift."""
    norm = PRODUCERS["norm"]
    return _compiled(
        f"def composed({', '.join(PARTS)}, shift: Tensor, active: Tensor) -> Tensor:\n"
        f"    if bool(active):\n        value = {norm} + shift\n"
        f"    else:\n        value = {norm}\n    return value\n",
        {},
    )


@cache
def _folding(folds: tuple[tuple[Role, Fold], ...]) -> Any:
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
