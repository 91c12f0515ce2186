"""Bottleneck adapter beside the feed-forward block of every layer.

AdapterHub's ``par_bn`` (He et al. 2022, arXiv 2110.04366): the block's h becomes
``h + scaling * up(act(down(r)))``, where r is the residual. A language and a task adapter both read
r and add up; `adapters` itself keeps only the last of a tower.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue
from torch import Tensor

from adaptation.architectures import Architecture
from adaptation.branching import Arithmetic
from adaptation.methods.bottleneck import WAY_UP, Bottleneck, BottleneckConfig, adapter
from adaptation.methods.method import MethodConfig


def beside(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
    value: Tensor,
    residual: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    norm_eps: float,
    width: int,
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    activation: Tensor,
    places: Tensor,
) -> Tensor:
    """Reads the residual; relu by default."""
    return adapter(value, residual, down, down_bias, up, up_bias, activation, places, 1)


class ParallelBottleneckConfig(BottleneckConfig):
    """Field names of AdapterHub's ``ParBnConfig``."""

    reduction_factor: float = 2.0
    scaling: float = 4.0
    """Folded into the way up of a loaded module, so that it is learned at full size."""


class ParallelBottleneck(Bottleneck):
    """``par_bn``."""

    name: ClassVar[str] = "parallel_bottleneck"
    Config: ClassVar[type[BottleneckConfig]] = ParallelBottleneckConfig
    arithmetic: ClassVar[Arithmetic] = staticmethod(beside)
    hub_config: ClassVar[dict[str, JsonValue]] = {
        "is_parallel": True,
        "init_weights": "mam_adapter",
    }

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """Saves it as `adapters` does, with the scaling taken out of the way up."""
        scaling = ParallelBottleneckConfig.model_validate(config).scaling
        unscaled = {
            name: tensor / scaling if name.endswith(WAY_UP) else tensor
            for name, tensor in tensors.items()
        }
        super().write(folder, config, unscaled, base)
