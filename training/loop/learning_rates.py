"""Discriminative learning rates: the lower a layer, the less it learns.

Howard and Ruder 2018 (arXiv 1801.06146, section 3.1) give every layer the rate of the one above it
times a decay; groups of layers as in the cross-lingual study of Borch and others, who use 0.7.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from adaptation.architectures import Architecture

Factors = Mapping[nn.Parameter, float]
"""Parameter of a base → what its rate is multiplied with; those that are missing keep theirs."""


def layer_factors(architecture: Architecture, decay: float, groups: int) -> Factors:
    """``decay`` once for the highest group of layers, once more for each one below it.

    The layers of a tower fall into ``groups`` of like size; embeddings stand one group below the
    lowest. What is above the layers (heads, last norms) and modules keep the full rate.
    """
    if decay == 1:
        return {}
    found = dict.fromkeys(_embeddings(architecture), decay ** (groups + 1))
    for tower in architecture.towers():
        for index, layer in enumerate(tower.layers):
            below = groups - index * groups // tower.depth
            found |= dict.fromkeys(layer.parameters(), decay**below)
    return found


def _embeddings(architecture: Architecture) -> list[nn.Parameter]:
    """Word vectors, also where they are the vocabulary's last linear; an encoder's positions."""
    whole = architecture.embeddings or architecture.model.get_input_embeddings()
    return list(whole.parameters())


def apply_factors(optimizer: Optimizer, factors: Factors) -> None:
    """Splits the groups of an optimizer that has taken no step, the highest rates first."""
    split: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        split += [
            {**group, "params": own, "lr": group["lr"] * factor} for factor, own in parts.items()
        ]
    optimizer.param_groups = sorted(split, key=lambda group: -group["lr"])
