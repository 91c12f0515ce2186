"""Where a base's hooks find tensors: one module for all rows, or banks and each row's slots."""

from collections.abc import Mapping

import torch
from torch import Tensor

from adaptation.banks import MARKS
from adaptation.branching import Lookup, SlotSource, gathered
from langmod.specs import ROLES, Role


class FixedSource(SlotSource):
    """One module per role for every row; what training uses. Gradients reach the tensors."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def find(self, name: str, layer: int | None) -> Lookup | None:
        """A bank of one slot, broadcast over the rows."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return None
        place = [[0]] if layer is None else [[layer, 0]]
        bank = tensor.unsqueeze(0 if layer is None else 1)
        return Lookup(bank, torch.tensor(place, device=tensor.device))


class BankSource(SlotSource):
    """Banks and each row's slots; what graphs use."""

    def __init__(self, banks: Mapping[str, Tensor], slots: Tensor) -> None:
        """``banks``: name → ``[L, S, ...]`` or ``[S, ...]``; ``slots [B, 2]``: language, task."""
        self.banks = banks
        self.columns = {role: slots[:, column] for column, role in enumerate(ROLES)}  # [B] each
        self._places: dict[tuple[Role, int | None], Tensor] = {}

    def find(self, name: str, layer: int | None) -> Lookup | None:
        """The bank, and the rows' slots in it."""
        bank = self.banks.get(name)
        return None if bank is None else Lookup(bank, self._rows(_role(name), layer))

    def marks(self, role: Role) -> Tensor | None:
        """Reads the bank of marks; None where it was not given."""
        found = self.find(f"{role}.{MARKS}", None)
        return None if found is None else gathered(found.bank, found.places)

    def _rows(self, role: Role, layer: int | None) -> Tensor:
        """The places of one layer, the same tensor for every bank: one node of a graph."""
        slots = self.columns[role]
        if (role, layer) not in self._places:
            if layer is None:
                found = slots.unsqueeze(1)
            elif layer == 0:
                found = torch.stack([torch.zeros_like(slots), slots], 1)
            else:
                # One addition: these nodes run for every layer of a graph.
                found = self._rows(role, 0) + torch.tensor([[layer, 0]], device=slots.device)
            self._places[role, layer] = found
        return self._places[role, layer]


class RoleSources(SlotSource):
    """Another source for each role: a task module in training over banks of language modules."""

    def __init__(self, sources: Mapping[Role, SlotSource]) -> None:
        self.sources = sources

    def find(self, name: str, layer: int | None) -> Lookup | None:
        """What the role's own source holds."""
        source = self.sources.get(_role(name))
        return None if source is None else source.find(name, layer)


def _role(name: str) -> Role:
    return "language" if name.startswith("language.") else "task"
