"""(IA)3 (Liu et al. 2022, arXiv 2205.05638): each feature of a linear's output or input, rescaled.

The checkpoint format is PEFT's. A slot holds factor - 1, so that an empty one is the bare base; the
factors of a language and a task module multiply.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from adaptation import peft_folder
from adaptation.architectures import Architecture, Tower
from adaptation.branching import Change, gathered
from adaptation.foreign_settings import Fields, counted, words
from adaptation.hooks import Hooks
from adaptation.methods.method import Method, MethodConfig, described, targeted
from adaptation.peft_folder import Target, named, setting
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import BankSpec, Role

KEY = "base_model.model.{module}.ia3_l"
SIDES = ("outputs", "inputs")
FIELDS = peft_folder.FIELDS | Fields(
    served=words("target_modules exclude_modules feedforward_modules"),
    idle=words("fan_in_fan_out init_ia3_weights"),
)
"""The settings of PEFT's ``IA3Config``."""


def rescaled_inputs(value: Tensor, factors: Tensor, places: Tensor) -> Tensor:
    """``[B, T, D_in]`` by banks ``[L, S, 1, D_in]`` of factors less 1."""
    return value + value * gathered(factors, places)


def rescaled_outputs(value: Tensor, inputs: Tensor, factors: Tensor, places: Tensor) -> Tensor:
    """``[B, T, D_out]`` by banks ``[L, S, 1, D_out]`` of factors less 1."""
    return rescaled_inputs(value, factors, places)


class Ia3Config(MethodConfig):
    """Field names of PEFT's ``IA3Config``."""

    target_modules: tuple[str, ...] = ("key", "value", "output.dense", "k_proj", "v_proj", "fc2")
    """Last parts of the paths of the linears to change; those a base lacks are passed over."""
    feedforward_modules: tuple[str, ...] = ("output.dense", "fc2")
    """Those of them whose input is rescaled, not their output."""


class Ia3(Method):
    """(IA)3 as language and as task module, on any linear of a layer."""

    name: ClassVar[str] = "ia3"
    Config = Ia3Config
    peft_types: ClassVar[Mapping[str, Fields]] = {"IA3": FIELDS}

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """Per linear and side: ``[L, S, 1, D]``, the third axis empty while none is loaded."""
        return tuple(
            BankSpec(
                name=f"{role}.{self.name}.{tower.name}.{path}.{side}",
                role=role,
                shape=(tower.depth, f"S.{role}",
                       self.presence_axis(role, f"{tower.name}.{path}.{side}"), width),
            )
            for tower, path, side, width in self._places(architecture)
        )  # fmt: skip

    def attach(self, hooks: Hooks, role: Role) -> None:
        """Rescales inputs and outputs of every linear."""
        for tower, path, side, _ in self._places(hooks.architecture):
            name = (f"{role}.{self.name}.{tower.name}.{path}.{side}",)
            if side == "inputs":
                hooks.on_inputs(tower.name, path, Change(rescaled_inputs, name))
            else:
                hooks.on_outputs(tower.name, path, Change(rescaled_outputs, name, folds="factor"))

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """Factors of 1.

        Raises:
            ConfigError: no linear of the base matches ``target_modules``.
        """
        del generator
        settings = Ia3Config.model_validate(config)
        tensors = {
            f"{self.name}.{tower.name}.{path}.{side}": torch.zeros(tower.depth, 1, width)
            for tower, path, side, width in self._places(architecture)
            if targeted(path, settings.target_modules) and side == _side(settings, path)
        }
        shared = _shared(settings, architecture)
        if shared:
            raise ConfigError("; ".join(shared))
        if not tensors:
            raise ConfigError(f"target_modules {list(settings.target_modules)} match no linear")
        return tensors

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT saves them."""
        import peft

        settings = Ia3Config.model_validate(config)
        state, changed = {}, set()
        for tower, layer, path, _ in base.linears():
            side = _side(settings, path)
            tensor = tensors.get(f"{self.name}.{tower.name}.{path}.{side}")
            if tensor is not None:
                changed.add(path)
                factors = 1 + tensor[layer]  # [1, D]
                key = KEY.format(module=f"{base.layer_path(tower.name, layer)}.{path}")
                state[key] = (factors.T if side == "outputs" else factors).contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        peft.IA3Config(
            target_modules=sorted(changed),
            feedforward_modules=sorted(p for p in changed if _side(settings, p) == "inputs"),
            base_model_name_or_path=base.model.config.name_or_path.rsplit("/", 1)[-1],
            inference_mode=True,
        ).save_pretrained(str(folder))

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads PEFT's files, whichever subset of layers they change."""
        files = peft_folder.load(folder, base)
        if not isinstance(setting(files.settings, "feedforward_modules", folder.name), str | list):
            raise BrokenModule(f"{folder.name}: feedforward_modules is null; allowed: names")
        targets = {files.key(each.module, "ia3_l"): each for each in files.targets(base)}
        tensors, odd = self._factors(files.state, targets)
        config = Ia3Config(
            target_modules=named(files, [each.path for each in targets.values()]),
            feedforward_modules=_rescaled(files.state, targets),
        )
        faults = [
            *peft_folder.faults(files.settings, FIELDS),
            *files.target_faults(base),
            *files.tensor_faults(base, targets),
            *counted("it has another width than the base's linear", odd),
            *_shared(config, base),
        ]
        if faults:
            raise ModuleMismatch(folder.name, faults)
        return config, tensors

    def recognises(self, folder: Path) -> bool:
        """PEFT's ``IA3``."""
        return described(folder).get("peft_type") == "IA3"

    def _factors(
        self, state: Mapping[str, Tensor], targets: Mapping[str, Target]
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Banks' tensors, and what has another width than its linear."""
        tensors: dict[str, Tensor] = {}
        odd = []
        for key in state.keys() & targets.keys():
            value, (_, tower, layer, path) = state[key], targets[key]
            side = _side_of(value)
            width = tower.linears[path][0 if side == "inputs" else 1]
            if value.numel() != width:
                odd.append(key)
                continue
            name = f"{self.name}.{tower.name}.{path}.{side}"
            rows = tensors.setdefault(name, torch.zeros(tower.depth, 1, width))
            rows[layer] = value.float().reshape(1, width) - 1
        return tensors, odd

    def _places(self, architecture: Architecture) -> Iterator[tuple[Tower, str, str, int]]:
        """All outputs, and the inputs that one linear alone reads: those that close a sublayer."""
        for tower in architecture.towers():
            closing = {each.output for each in tower.sublayers.values()}
            for path, (wide_in, wide_out) in tower.linears.items():
                yield tower, path, "outputs", wide_out
                if path in closing:
                    yield tower, path, "inputs", wide_in


def _side_of(value: Tensor) -> str:
    """PEFT's factors of outputs are a column, those of inputs a row."""
    return "inputs" if value.shape[0] == 1 else "outputs"


def _rescaled(state: Mapping[str, Tensor], targets: Mapping[str, Target]) -> tuple[str, ...]:
    """Paths of the linears whose inputs have factors."""
    keys = [key for key in targets if key in state and _side_of(state[key]) == "inputs"]
    return tuple(sorted({targets[key].path for key in keys}))


def _shared(settings: Ia3Config, base: Architecture) -> list[str]:
    """Why inputs that several linears read are not rescaled for one of them."""
    return [
        f"feedforward_modules names {path}, whose input other linears read too; allowed: "
        + ", ".join(each.output for each in tower.sublayers.values())
        for tower in base.towers()
        for path in tower.linears
        if targeted(path, settings.target_modules)
        and _side(settings, path) == "inputs"
        and path not in {each.output for each in tower.sublayers.values()}
    ]


def _side(settings: Ia3Config, path: str) -> str:
    return "inputs" if targeted(path, settings.feedforward_modules) else "outputs"
