"""Sequential bottleneck adapter after each layer's feed-forward block.

AdapterHub's ``seq_bn`` (Pfeiffer et al. 2020, MAD-X arXiv 2005.00052). A sublayer gives h, which is
added to the residual r and normed: h becomes ``h + up(act(down(LN(h + r))))``; a task adapter
repeats this on the new h. Double and parallel bottlenecks are this class at other places. Each may
have an invertible adapter around all layers besides.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import JsonValue
from torch import Generator, Tensor

from adaptation import adapterhub
from adaptation.architectures import Architecture, Tower
from adaptation.branching import Arithmetic, Change
from adaptation.foreign_settings import counted
from adaptation.hooks import Hooks
from adaptation.methods import invertible
from adaptation.methods.invertible import InvertibleConfig
from adaptation.methods.method import Method, MethodConfig, described
from adaptation.methods.perceptron import ACTIVATIONS, Activation, number_of, perceptron
from langmod.errors import ModuleMismatch
from langmod.specs import Axis, BankSpec, Role

PARTS = {"down_weight": "adapter_down.0.weight", "down_bias": "adapter_down.0.bias",
         "up_weight": "adapter_up.weight", "up_bias": "adapter_up.bias"}  # fmt: skip
WAY_UP = (".up_weight", ".up_bias")


def adapter(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
    value: Tensor,
    inputs: Tensor,
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    activation: Tensor,
    places: Tensor,
    default: int,
) -> Tensor:
    """``value [B, T, D]`` plus what the rows' adapters make of ``inputs [B, T, D]``."""
    return value + perceptron(inputs, down, down_bias, up, up_bias, activation, places, default)


def after_norm(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
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
    """Reads the sum with the residual, normed where the base norms it; relu by default."""
    inputs = value + residual
    if norm_weight is not None:
        inputs = torch.layer_norm(inputs, [width], norm_weight, norm_bias, norm_eps)
    return adapter(value, inputs, down, down_bias, up, up_bias, activation, places, 1)


class BottleneckConfig(InvertibleConfig):
    """Field names of AdapterHub's ``BnConfig``."""

    reduction_factor: float = 16.0
    """The rank R is the base's width D divided by this."""
    non_linearity: Activation = "relu"
    leave_out: tuple[int, ...] = ()
    """Layers without an adapter, decoder layers counted on from the encoder's; MAD-X 2.0 leaves out
    the last."""


class Bottleneck(Method):
    """``seq_bn``, as language and as task module, on every tower of a base."""

    name: ClassVar[str] = "bottleneck"
    Config: ClassVar[type[BottleneckConfig]] = BottleneckConfig
    sublayers: ClassVar[tuple[str, ...]] = ("output",)
    arithmetic: ClassVar[Arithmetic] = staticmethod(after_norm)
    hub_config: ClassVar[dict[str, JsonValue]] = {"original_ln_before": True}
    """Where AdapterHub's configuration differs from its defaults."""

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """Per place: down ``[L, S, D, R]``, up ``[L, S, R, D]``, their biases, activation."""
        slots = f"S.{role}"
        found = []
        for tower, place, prefix in self._places(architecture):
            width = tower.width
            rank = self.rank_axis(role, place)
            shapes: dict[str, tuple[Axis, ...]] = {
                "down_weight": (width, rank), "down_bias": (rank,),
                "up_weight": (rank, width), "up_bias": (width,), "activation": (1,),
            }  # fmt: skip
            found += [
                BankSpec(
                    name=f"{role}.{prefix}{part}", role=role, shape=(tower.depth, slots, *shape)
                )
                for part, shape in shapes.items()
            ]
        return (*found, *invertible.banks(self, architecture, role))

    def attach(self, hooks: Hooks, role: Role) -> None:
        """Changes what its sublayers add to the residual."""
        invertible.attach(self, hooks, role)
        for tower in hooks.architecture.towers():
            for sublayer in self.sublayers_of(tower):
                prefix = f"{role}.{self._prefix(tower, sublayer)}"
                names = tuple(prefix + part for part in PARTS)
                change = Change(type(self).arithmetic, names, (f"{prefix}activation",))
                hooks.on_sublayer(tower.name, sublayer, change)

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """BERT's initialisation downwards, zeros upwards: training starts at the base itself."""
        settings = self.Config.model_validate(config)
        activation = number_of(settings.non_linearity)
        tensors: dict[str, Tensor] = {}
        for tower, _, prefix in self._places(architecture):
            width = tower.width
            rank = max(1, int(width / settings.reduction_factor))
            down = torch.empty(tower.depth, width, rank).normal_(std=0.02, generator=generator)
            tensors |= {
                f"{prefix}down_weight": down,
                f"{prefix}down_bias": torch.zeros(tower.depth, rank),
                f"{prefix}up_weight": torch.zeros(tower.depth, rank, width),
                f"{prefix}up_bias": torch.zeros(tower.depth, width),
                f"{prefix}activation": torch.full((tower.depth, 1), activation),
            }
        for name, layers in self.frozen_layers(settings, architecture).items():
            tensors[name][layers] = 0
        around = invertible.fresh(self, settings, settings.non_linearity, architecture, generator)
        return tensors | around

    def frozen_layers(
        self, config: MethodConfig, architecture: Architecture
    ) -> dict[str, list[int]]:
        """``leave_out`` by tensor."""
        settings, first = self.Config.model_validate(config), 0
        found: dict[str, list[int]] = {}
        for tower in architecture.towers():
            own = [each - first for each in settings.leave_out if 0 <= each - first < tower.depth]
            prefixes = [self._prefix(tower, each) for each in self.sublayers_of(tower)]
            found |= {f"{prefix}{part}": own for prefix in prefixes for part in PARTS if own}
            first += tower.depth
        return found

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``adapter_config.json`` and ``adapter.safetensors`` as `adapters` saves them."""
        settings = self.Config.model_validate(config)
        state = {
            key: adapterhub.turned(tensors[name][layer], name)
            for layer, name, key in self._keys(base, folder.name, settings.leave_out)
        }
        if settings.inv_adapter is not None:
            state |= invertible.write(self, tensors, base, folder.name)
        fields = settings.model_dump(mode="json")
        adapterhub.save(folder, base, {**self.hub_config, **self.hub_fields(base), **fields},
                        state)  # fmt: skip

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads what ``write`` or `adapters` wrote; layers without an adapter become zeros."""
        name, found, state = adapterhub.load(folder)
        faults = [*adapterhub.faults(folder, base), *self.faults(found, base)]
        if faults:
            raise ModuleMismatch(name, faults)
        fields = {key: found[key] for key in self.Config.model_fields if found.get(key) is not None}
        config = self.Config.model_validate(fields)
        tensors = {
            key: value if key.endswith("activation") else torch.zeros_like(value)
            for key, value in self.fresh(config, base, Generator()).items()
        }
        unread = dict(state)
        keys = self._keys(base, name, config.leave_out)
        wanted = [(key, tensor, tensors[tensor][layer]) for layer, tensor, key in keys]
        if config.inv_adapter is not None:
            wanted += invertible.wanted(self, base, name, tensors)
        faults += adapterhub.fill(unread, wanted)
        faults += counted(f"is no place of {self.name} on this base", unread)
        if faults:
            raise ModuleMismatch(name, faults)
        return config, _scaled(tensors, found["scaling"])

    def recognises(self, folder: Path) -> bool:
        """AdapterHub's, with adapters at the places of this method."""
        found = described(folder).get("config")
        if not isinstance(found, dict):
            return False
        settings = {**adapterhub.DEFAULTS, **found}
        kind = "parallel_bottleneck" if settings["is_parallel"] else "bottleneck"
        return self.name == ("double_bottleneck" if settings["mh_adapter"] else kind)

    def hub_fields(self, base: Architecture) -> dict[str, JsonValue]:
        """Fields of AdapterHub's configuration that depend on the base."""
        del base
        return {}

    def faults(self, settings: Mapping[str, Any], base: Architecture) -> list[str]:
        """Where a checkpoint's settings are other than this method's."""
        wanted = {**adapterhub.DEFAULTS, **self.hub_config, **self.hub_fields(base)}
        decisive = ("cross_adapter", "is_parallel", "ln_after", "ln_before", "mh_adapter",
                    "original_ln_after", "original_ln_before", "output_adapter", "phm_layer",
                    "residual_before_ln", "use_gating")  # fmt: skip
        if settings.get("architecture"):
            return [f"architecture is {settings['architecture']!r}; allowed: bottleneck adapters"]
        found = adapterhub.FIELDS.faults(settings)
        found += [
            f"{key} is {settings[key]!r}, {self.name} has {wanted[key]!r}"
            for key in decisive
            if settings[key] != wanted[key]
        ]
        if settings.get("non_linearity") not in ACTIVATIONS:
            allowed = ", ".join(ACTIVATIONS)
            found.append(f"non_linearity is {settings.get('non_linearity')!r}; allowed: {allowed}")
        if not isinstance(settings.get("reduction_factor"), int | float):
            found.append(f"reduction_factor is {settings.get('reduction_factor')!r}, no number")
        if not isinstance(settings["scaling"], int | float):
            found.append(f"scaling is {settings['scaling']!r}, no number")
        return found + invertible.faults(settings, base)

    def sublayers_of(self, tower: Tower) -> Iterator[str]:
        """The sublayers of a tower that have an adapter."""
        return (each for each in self.sublayers if each in tower.sublayers)

    def _prefix(self, tower: Tower, sublayer: str) -> str:
        """How the tensors of one place begin; where there is but one it is not named."""
        own = f"{sublayer}." if len(self.sublayers) > 1 else ""
        return f"{self.name}.{tower.name}.{own}"

    def _places(self, architecture: Architecture) -> Iterator[tuple[Tower, str, str]]:
        for tower in architecture.towers():
            for sublayer in self.sublayers_of(tower):
                prefix = self._prefix(tower, sublayer)
                yield tower, prefix.removeprefix(f"{self.name}.").removesuffix("."), prefix

    def _keys(
        self, base: Architecture, name: str, leave_out: tuple[int, ...]
    ) -> Iterator[tuple[int, str, str]]:
        """Layer, tensor and key of a checkpoint, for every layer that has an adapter."""
        first = 0
        for tower in base.towers():
            for sublayer in self.sublayers_of(tower):
                for layer in range(tower.depth):
                    if first + layer in leave_out:
                        continue
                    holder = adapterhub.prefix(base, tower.name, layer, sublayer)
                    for part, tail in PARTS.items():
                        tensor = f"{self._prefix(tower, sublayer)}{part}"
                        yield layer, tensor, f"{holder}.{name}.{tail}"
            first += tower.depth


def _scaled(tensors: Mapping[str, Tensor], scaling: float) -> dict[str, Tensor]:
    """What a checkpoint multiplies an adapter by, folded into its way up."""
    return {
        name: tensor * scaling if name.endswith(WAY_UP) else tensor
        for name, tensor in tensors.items()
    }
