"""Down, a non-linearity and up, each row with its own: what adapters are made of."""

from typing import Literal

import torch
from torch import Tensor

from adaptation.branching import gathered

Activation = Literal["relu", "swish", "gelu", "tanh"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "swish", "gelu", "tanh")
"""A module's ``activation`` tensor holds the place of its own in this list, counted from 1."""


def number_of(activation: Activation) -> int:
    """What an ``activation`` tensor holds for it."""
    return ACTIVATIONS.index(activation) + 1


def activated(inner: Tensor, activation: Tensor, default: int) -> Tensor:
    """Each row of ``[B, T, R]`` through its own non-linearity ``[B, 1]``; 0 is the default."""
    asked = torch.where(activation == 0, float(default), activation)
    found = torch.relu(inner)
    # Most modules have relu, and every further function is a pass over all rows.
    if bool(asked.max() > 1):
        asked = asked.unsqueeze(-1)  # [B, 1, 1]
        found = torch.where(asked == 2, torch.nn.functional.silu(inner), found)
        found = torch.where(asked == 3, torch.nn.functional.gelu(inner), found)
        found = torch.where(asked == 4, torch.tanh(inner), found)
    return found


def perceptron(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
    inputs: Tensor,
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    activation: Tensor,
    places: Tensor,
    default: int,
) -> Tensor:
    """What the rows' own weights make of ``inputs [B, T, D_in]``, ``[B, T, D_out]``."""
    inner = inputs @ gathered(down, places) + gathered(down_bias, places).unsqueeze(1)  # [B, T, R]
    inner = activated(inner, gathered(activation, places), default)
    return inner @ gathered(up, places) + gathered(up_bias, places).unsqueeze(1)
