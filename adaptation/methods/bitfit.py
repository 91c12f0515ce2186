"""BitFit (Ben Zaken et al. 2022, arXiv 2106.10199): the biases of a base's layers, nothing else.

The checkpoint is a part of a state dict: the changed biases under their own names, which
``load_state_dict(strict=False)`` takes. PEFT's BEFT checkpoints hold differences and are read too.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from adaptation import peft_folder
from adaptation.architectures import Architecture, Tower
from adaptation.branching import Change, gathered
from adaptation.foreign_settings import Fields, counted, missing, words
from adaptation.hooks import Hooks
from adaptation.methods.method import Method, MethodConfig, described, targeted
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import BankSpec, Role

CONFIG = "bitfit_config.json"
TENSORS = "biases.safetensors"
BEFT_FIELDS = peft_folder.FIELDS | Fields(
    served=words("target_modules"), idle=words("init_weights")
)
"""The settings of PEFT's ``BeftConfig``."""
QUERY_AND_MIDDLE = ("query", "q_proj", "intermediate.dense", "fc1")
"""``target_modules`` of the paper's smaller variant: queries and the first feed-forward linear."""


def shifted(value: Tensor, inputs: Tensor, shift: Tensor, places: Tensor) -> Tensor:
    """``[B, T, D]`` plus a bank ``[L, S, 1, D]`` of differences from the base's bias."""
    return value + gathered(shift, places)


class BitFitConfig(MethodConfig):
    """Which biases learn."""

    target_modules: tuple[str, ...] | None = None
    """Last parts of the paths of linears and norms; None: all of every layer."""


class BitFit(Method):
    """BitFit as language and as task module; the differences of the two add up."""

    name: ClassVar[str] = "bitfit"
    Config = BitFitConfig
    peft_types: ClassVar[Mapping[str, Fields]] = {"BEFT": BEFT_FIELDS}

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """Per linear and norm: ``[L, S, 1, D]``, the third axis empty while none is loaded."""
        return tuple(
            BankSpec(
                name=f"{role}.{self.name}.{tower.name}.{path}.shift",
                role=role,
                shape=(tower.depth, f"S.{role}",
                       self.presence_axis(role, f"{tower.name}.{path}"), width),
            )
            for tower, path, width in _places(architecture)
        )  # fmt: skip

    def attach(self, hooks: Hooks, role: Role) -> None:
        """Shifts the output of every linear and norm."""
        for tower, path, _ in _places(hooks.architecture):
            name = f"{role}.{self.name}.{tower.name}.{path}.shift"
            hooks.on_outputs(tower.name, path, Change(shifted, (name,), folds="shift"))

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """Differences of zero.

        Raises:
            ConfigError: no linear or norm of the base matches ``target_modules``.
        """
        del generator
        targets = BitFitConfig.model_validate(config).target_modules
        tensors = {
            f"{self.name}.{tower.name}.{path}.shift": torch.zeros(tower.depth, 1, width)
            for tower, path, width in _places(architecture)
            if targets is None or targeted(path, targets)
        }
        if not tensors:
            raise ConfigError(f"target_modules {list(targets or ())} match no linear or norm")
        return tensors

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``bitfit_config.json`` and the changed biases as a part of a state dict."""
        state = {}
        for key, tower, layer, path, bias in biases(base):
            shift = tensors.get(f"{self.name}.{tower.name}.{path}.shift")
            if shift is not None:
                state[key] = bias.detach().float() + shift[layer, 0]
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / TENSORS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads what ``write`` or PEFT's BEFT wrote."""
        if not (folder / CONFIG).is_file():
            return self._read_beft(folder, base)
        try:
            settings, state = _own_files(folder)
            config = BitFitConfig(target_modules=settings["target_modules"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BrokenModule(f"{folder.name} is no BitFit checkpoint: {error}") from error
        asked = config.target_modules
        wanted = [
            key for key, _, _, path, _ in biases(base) if asked is None or targeted(path, asked)
        ]
        tensors, faults = self._differences(state, base, absolute=True)
        faults += missing(state, wanted)
        if faults:
            raise ModuleMismatch(folder.name, faults)
        return config, tensors

    def _read_beft(
        self, folder: Path, base: Architecture
    ) -> tuple[MethodConfig, dict[str, Tensor]]:
        files = peft_folder.load(folder, base)
        targets = list(files.targets(base))
        keys = {files.key(each.module, "beft_bias"): f"{each.module}.bias" for each in targets}
        faults = [
            *peft_folder.faults(files.settings, BEFT_FIELDS),
            *files.target_faults(base),
            *files.tensor_faults(base, keys),
        ]
        state = {keys[key]: each.flatten() for key, each in files.state.items() if key in keys}
        tensors, odd = self._differences(state, base, absolute=False)
        if faults + odd:
            raise ModuleMismatch(folder.name, faults + odd)
        paths = [each.path for each in targets]
        return BitFitConfig(target_modules=peft_folder.named(files, paths)), tensors

    def recognises(self, folder: Path) -> bool:
        """Our own, or PEFT's ``BEFT``."""
        return (folder / CONFIG).is_file() or described(folder).get("peft_type") == "BEFT"

    def _differences(
        self, state: Mapping[str, Tensor], base: Architecture, absolute: bool
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Tensors by bank, and what a checkpoint holds that is no bias of the base."""
        known = {key: rest for key, *rest in biases(base)}
        tensors: dict[str, Tensor] = {}
        odd = []
        for key in state.keys() & known.keys():
            value, (tower, layer, path, bias) = state[key], known[key]
            if value.shape != bias.shape:
                odd.append(key)
                continue
            difference = value.float() - bias.detach().float() if absolute else value.float()
            name = f"{self.name}.{tower.name}.{path}.shift"
            rows = tensors.setdefault(name, torch.zeros(tower.depth, 1, len(bias)))
            rows[layer, 0] = difference
        return tensors, [
            *counted("is no bias in a layer of this base", state.keys() - known.keys()),
            *counted("it has another shape than the base's", odd),
        ]


def _places(architecture: Architecture) -> Iterator[tuple[Tower, str, int]]:
    for tower in architecture.towers():
        for path, (_, width) in tower.linears.items():
            yield tower, path, width
        for path in tower.norms:
            yield tower, path, tower.width


def biases(base: Architecture) -> Iterator[tuple[str, Tower, int, str, Any]]:
    """Full name, tower, layer, path and value of every bias."""
    for tower, path, _ in _places(base):
        for layer, holder in enumerate(tower.layers):
            key = f"{base.layer_path(tower.name, layer)}.{path}.bias"
            yield key, tower, layer, path, holder.get_submodule(path).bias


def _own_files(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((folder / CONFIG).read_text("utf-8")), load_file(folder / TENSORS)
