"""Several layers of an encoder read as one, between its layers and its head for words."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerMix(nn.Module):
    """Layers, each normed without weights, side by side under one linear map to D.

    It catches what the layers give and hands the head its mix in place of the last layer's output.
    """

    def __init__(self, width: int, layers: tuple[int, ...]) -> None:
        """``layers`` are counted from 1; it begins as the last of them, the base's own last."""
        super().__init__()
        self.layers = layers
        self.map = nn.Linear(len(layers) * width, width)
        with torch.no_grad():
            self.map.weight.zero_()
            self.map.weight[:, -width:] = torch.eye(width)
            self.map.bias.zero_()
        self.held: list[Tensor] = []
        """What the layers gave in the run that is under way."""

    def catch(self, tower: nn.ModuleList, head: nn.Module) -> None:
        """Hangs itself between a base's layers and its head."""
        for place, layer in enumerate(self.layers):
            tower[layer - 1].register_forward_hook(self._keeping(place))
        head.register_forward_pre_hook(self._before_head)

    def forward(self, *hidden: Tensor) -> Tensor:
        """Outputs of the layers ``[..., D]`` → ``[..., D]``."""
        normed = [functional.layer_norm(each, (self.map.out_features,)) for each in hidden]
        return self.map(torch.cat(normed, dim=-1))

    def _keeping(self, place: int) -> Any:
        def keep(_: nn.Module, __: object, output: Any) -> None:
            if place == 0:
                self.held = []
            self.held.append(output[0] if isinstance(output, tuple) else output)

        return keep

    def _before_head(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """A head that is run by itself reads what it is given, and not an earlier run's layers."""
        held, self.held = self.held, []
        if not held or inputs[0] is not held[-1]:
            return None
        return (self(*held), *inputs[1:])
