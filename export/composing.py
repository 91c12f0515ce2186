"""Changes of a base's values as an exported graph runs them.

Rows whose module makes a change are taken out of a batch, changed, and put back; the others pass.
A value is computed inside an ``If``, with its changes in one branch and without in the other:
branches that merely hand a value on would copy it. What multiplies a linear's features or is added
to them is folded into its scale and bias, and costs no pass over the rows.

What runs is written in ``scripting.py``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptation.branching import Group, Loaded, SlotSource
from export.scripting import Producer, Shape, composed, folding, shifted_norm
from langmod.specs import ROLES, Role

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
            return shifted_norm()(*parts, *numbers, shift, self._any(own))
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
        function = folding(tuple((each.role, each.folds) for each in folded if each.folds))
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
            shapes.append(tuple(Shape.of(group) for group in present))
            tensors.append(self._any([each for group in present for each in group.changes]))
            for group in present:
                after = (group.factor, group.addend)
                tensors += [*group.context, *(each for each in after if each is not None)]
                for change in group.changes:
                    tensors += [*change.banks, change.places]
        found: Tensor = composed(producer, tuple(shapes))(*parts, *numbers, *tensors)
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
