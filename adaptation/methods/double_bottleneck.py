"""Bottleneck adapters after attention and after the feed-forward block of every layer.

AdapterHub's ``double_seq_bn`` (Houlsby et al. 2019, arXiv 1902.00751): a sublayer's h becomes
``h + up(act(down(h)))`` before it meets the residual. In decoders cross-attention has one too.
"""

from typing import ClassVar

from pydantic import JsonValue
from torch import Tensor

from adaptation.architectures import Architecture
from adaptation.branching import Arithmetic
from adaptation.methods.bottleneck import Bottleneck, BottleneckConfig, adapter
from adaptation.methods.perceptron import Activation


def after_sublayer(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
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
    """Reads what the sublayer gives; swish by default."""
    return adapter(value, value, down, down_bias, up, up_bias, activation, places, 2)


class DoubleBottleneckConfig(BottleneckConfig):
    """Field names of AdapterHub's ``DoubleSeqBnConfig``."""

    non_linearity: Activation = "swish"


class DoubleBottleneck(Bottleneck):
    """``double_seq_bn``."""

    name: ClassVar[str] = "double_bottleneck"
    Config: ClassVar[type[BottleneckConfig]] = DoubleBottleneckConfig
    sublayers: ClassVar[tuple[str, ...]] = ("attention", "cross", "output")
    arithmetic: ClassVar[Arithmetic] = staticmethod(after_sublayer)
    hub_config: ClassVar[dict[str, JsonValue]] = {"mh_adapter": True}

    def hub_fields(self, base: Architecture) -> dict[str, JsonValue]:
        """Decoders have an adapter after cross-attention."""
        return {"cross_adapter": any("cross" in tower.sublayers for tower in base.towers())}
