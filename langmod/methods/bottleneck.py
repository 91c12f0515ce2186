"""Sequential bottleneck adapter after each layer's feed-forward block.

AdapterHub's ``seq_bn`` (Pfeiffer et al. 2020, MAD-X arXiv 2005.00052): with s the closing sum of a
layer and LN its norm, ``s + up(relu(down(LN(s))))``; a task adapter repeats this on the new s.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from langmod.architectures import Architecture, EncoderArchitecture
from langmod.errors import BrokenModule, ModuleMismatch
from langmod.methods.method import Method, MethodConfig
from langmod.specs import Axis, BankSpec, Role

if TYPE_CHECKING:
    from langmod.slotted import SlottedBase

PARTS = ("down_weight", "down_bias", "up_weight", "up_bias")


class BottleneckConfig(MethodConfig):
    """Field names of AdapterHub's ``SeqBnConfig``."""

    reduction_factor: float = 16.0
    """The rank R is the base's width D divided by this."""
    non_linearity: Literal["relu"] = "relu"


class Bottleneck(Method):
    """``seq_bn``, as language and as task module, on every stack of a base."""

    name: ClassVar[str] = "bottleneck"
    Config = BottleneckConfig

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """Per stack: down ``[L, S, D, R]``, up ``[L, S, R, D]`` and their biases."""
        slots, width = f"S.{role}", architecture.width
        found = []
        for stack in architecture.stacks():
            rank = self.rank_axis(role, stack.name)
            shapes: tuple[tuple[Axis, ...], ...] = ((width, rank), (rank,), (rank, width), (width,))
            found += [
                BankSpec(
                    name=f"{role}.{self.name}.{stack.name}.{part}",
                    role=role,
                    shape=(stack.depth, slots, *shape),
                )
                for part, shape in zip(PARTS, shapes, strict=True)
            ]
        return tuple(found)

    def attach(self, base: "SlottedBase", role: Role) -> None:
        """Adds the adapter's output to the sum that closes each layer."""
        for stack in base.architecture.stacks():
            base.on_block(stack.name, self._change(base, role, stack.name))

    def _change(
        self, base: "SlottedBase", role: Role, stack: str
    ) -> Callable[[Tensor, int], Tensor]:
        prefix = f"{role}.{self.name}.{stack}."

        def change(total: Tensor, layer: int) -> Tensor:
            found = base.tensors(tuple(prefix + part for part in PARTS), layer)
            if found is None:
                return total
            down, down_bias, up, up_bias = found  # [B, D, R], [B, R], [B, R, D], [B, D]
            inner = base.block_norm(stack, layer, total) @ down + down_bias.unsqueeze(1)
            return total + torch.relu(inner) @ up + up_bias.unsqueeze(1)  # [B, T, D]

        return change

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """BERT's initialisation downwards, zeros upwards: training starts at the base itself."""
        width = architecture.width
        rank = max(1, int(width / BottleneckConfig.model_validate(config).reduction_factor))
        tensors: dict[str, Tensor] = {}
        for stack in architecture.stacks():
            depth, prefix = stack.depth, f"{self.name}.{stack.name}."
            down = torch.empty(depth, width, rank).normal_(std=0.02, generator=generator)
            tensors |= {
                f"{prefix}down_weight": down,
                f"{prefix}down_bias": torch.zeros(depth, rank),
                f"{prefix}up_weight": torch.zeros(depth, rank, width),
                f"{prefix}up_bias": torch.zeros(depth, width),
            }
        return tensors

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``adapter_config.json`` and ``adapter.safetensors`` as `adapters` 1.3 saves them."""
        state = {
            key: _turned(tensors[f"{self.name}.{stack}.{part}"][layer], part).contiguous().clone()
            for stack, layer, part, key in _keys(base, folder.name)
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / "adapter.safetensors", metadata={"format": "pt"})
        described = {
            "config": HUB_CONFIG | config.model_dump(),
            "hidden_size": base.width,
            "model_class": type(base.model).__name__,
            "model_name": base.model.config.name_or_path.rsplit("/", 1)[-1],
            "model_type": base.model.config.model_type,
            "name": folder.name,
            "version": "adapters.1.3.0",
        }
        text = json.dumps(described, indent=2) + "\n"
        (folder / "adapter_config.json").write_text(text, encoding="utf-8")

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads what ``write`` or `adapters` wrote; layers without an adapter become zeros."""
        try:
            described = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            state = load_file(folder / "adapter.safetensors")
            settings, name, width = (described[k] for k in ("config", "name", "hidden_size"))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise BrokenModule(f"{folder.name} is no AdapterHub checkpoint: {error}") from error
        faults = _faults(settings)
        if width != base.width:
            faults.append(f"made for width {width}, the base has {base.width}")
        if faults:
            raise ModuleMismatch(name, faults)
        config = BottleneckConfig(
            reduction_factor=settings["reduction_factor"],
            non_linearity=settings["non_linearity"],
        )
        tensors = {
            key: torch.zeros_like(value)
            for key, value in self.fresh(config, base, Generator()).items()
        }
        for stack, layer, part, key in _keys(base, name):
            if key in state:
                tensors[f"{self.name}.{stack}.{part}"][layer] = _turned(state[key], part).float()
        return config, tensors


HUB_CONFIG = {
    "adapter_residual_before_ln": False,
    "cross_adapter": False,
    "dropout": 0.0,
    "factorized_phm_W": True,
    "init_weights": "bert",
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "is_parallel": False,
    "leave_out": [],
    "ln_after": False,
    "ln_before": False,
    "mh_adapter": False,
    "original_ln_after": True,
    "original_ln_before": True,
    "output_adapter": True,
    "phm_layer": False,
    "residual_before_ln": True,
    "scaling": 1.0,
    "stochastic_depth": 0.0,
    "use_gating": False,
}
"""What makes an AdapterHub bottleneck a ``seq_bn``."""


def _faults(settings: Mapping[str, object]) -> list[str]:
    """Where a checkpoint's settings are not ``seq_bn``'s."""
    decisive = ("inv_adapter", "is_parallel", "ln_after", "ln_before", "mh_adapter", "phm_layer",
                "output_adapter", "original_ln_before", "residual_before_ln", "scaling",
                "use_gating")  # fmt: skip
    found = [
        f"{key} is {settings[key]!r}, seq_bn has {HUB_CONFIG[key]!r}"
        for key in decisive
        if settings.get(key, HUB_CONFIG[key]) != HUB_CONFIG[key]
    ]
    if settings.get("non_linearity") != "relu":
        found.append(f"non_linearity is {settings.get('non_linearity')!r}, allowed: 'relu'")
    return found


def _turned(tensor: Tensor, part: str) -> Tensor:
    """Linear weights are ``[out, in]`` in checkpoints and ``[in, out]`` in banks."""
    return tensor.T if part.endswith("weight") else tensor


def _keys(base: Architecture, name: str) -> Iterator[tuple[str, int, str, str]]:
    """Stack, layer, part and the key of a checkpoint for each tensor of an adapter."""
    inner = {"down_weight": "adapter_down.0.weight", "down_bias": "adapter_down.0.bias",
             "up_weight": "adapter_up.weight", "up_bias": "adapter_up.bias"}  # fmt: skip
    for stack in base.stacks():
        for layer in range(stack.depth):
            if isinstance(base, EncoderArchitecture):
                prefix = f"{base.model.base_model_prefix}.encoder.layer.{layer}.output"
            else:
                prefix = f"model.{stack.name}.layers.{layer}.output_adapters"
            for part, tail in inner.items():
                yield stack.name, layer, part, f"{prefix}.adapters.{name}.{tail}"
