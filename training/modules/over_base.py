"""A model over a base that is not its own: only what learns is saved, counted and updated."""

from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from adaptation.slotted import SlottedBase


def _without(layers: list[int]) -> Callable[[Tensor], Tensor]:
    """A gradient ``[L, ...]`` with zeros for some layers."""
    return lambda gradient: gradient.index_fill(
        0, torch.tensor(layers, device=gradient.device), 0.0
    )


class OverBase(nn.Module):
    """Holds a base; a frozen one stays out of parameters, checkpoints and gradients' traffic."""

    slotted: SlottedBase

    def __init__(self, slotted: SlottedBase, tensors: Mapping[str, Tensor], learns: bool) -> None:
        """``learns``: the base's own weights learn too, as full fine-tuning does."""
        super().__init__()
        if learns:
            self.slotted = slotted
        else:
            object.__setattr__(self, "slotted", slotted.requires_grad_(False).eval())
        # A ParameterDict allows no dots in names.
        self.own = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(tensor, tensor.is_floating_point())
                for name, tensor in tensors.items()
            }
        )

    def freeze_layers(self, layers: Mapping[str, list[int]]) -> None:
        """Keeps some layers of some tensors at their values: ``Method.frozen_layers``."""
        for name, frozen in layers.items():
            self.own[name.replace(".", "/")].register_hook(_without(frozen))

    def tensors(self) -> dict[str, Tensor]:
        """The module's tensors by name."""
        return {name.replace("/", "."): tensor for name, tensor in self.own.items()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves the base along to another device or type."""
        self.slotted._apply(fn, recurse)
        return super()._apply(fn, recurse)
