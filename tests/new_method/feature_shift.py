"""A toy method as somebody would drop it in: one vector added after each feed-forward block."""

import json
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adaptation.branching import Change, gathered
from adaptation.hooks import Hooks
from adaptation.methods.method import Method, MethodConfig
from langmod.specs import BankSpec

CONFIG, TENSORS = "feature_shift.json", "feature_shift.safetensors"


def moved(value: Tensor, inputs: Tensor, shift: Tensor, places: Tensor) -> Tensor:
    return value + gathered(shift, places)


class FeatureShiftConfig(MethodConfig):
    size: float = 1.0


class FeatureShift(Method):
    name: ClassVar[str] = "feature_shift"
    Config: ClassVar[type[MethodConfig]] = FeatureShiftConfig

    def banks(self, architecture, role):
        return tuple(
            BankSpec(
                name=f"{role}.{name}",
                role=role,
                shape=(tower.depth, f"S.{role}", self.presence_axis(role, tower.name),
                       architecture.width),
            )
            for tower, _, name in self._places(architecture)
        )  # fmt: skip

    def attach(self, hooks: Hooks, role):
        for tower, path, name in self._places(hooks.architecture):
            hooks.on_outputs(tower.name, path, Change(moved, (f"{role}.{name}",)))

    def fresh(self, config, architecture, generator):
        return {
            name: torch.zeros(tower.depth, 1, architecture.width)
            for tower, _, name in self._places(architecture)
        }

    def write(self, folder, config, tensors, base):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), folder / TENSORS)
        (folder / CONFIG).write_text(config.model_dump_json())

    def read(self, folder, base):
        config = FeatureShiftConfig.model_validate(json.loads((folder / CONFIG).read_text()))
        return config, load_file(folder / TENSORS)

    def recognises(self, folder):
        return (folder / CONFIG).is_file()

    def _places(self, architecture):
        for tower in architecture.towers():
            path = tower.sublayers["output"].output
            yield tower, path, f"{self.name}.{tower.name}.shift"
