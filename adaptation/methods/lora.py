"""LoRA (Hu et al. 2021, arXiv 2106.09685) on any linear layers: ``y + (x A) B``, alpha / r in B.

The checkpoint format is PEFT's; dropout is a matter of training only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from adaptation import peft_folder
from adaptation.architectures import Architecture
from adaptation.branching import Change, gathered
from adaptation.foreign_settings import Fields
from adaptation.hooks import Hooks
from adaptation.methods import lora_files
from adaptation.methods.method import Method, MethodConfig, described, targeted
from langmod.errors import ConfigError, ModuleMismatch
from langmod.specs import BankSpec, Role

KEY = "base_model.model.{module}.lora_{side}.weight"


class LoraConfig(MethodConfig):
    """Field names of PEFT's ``LoraConfig``."""

    r: int = 8
    lora_alpha: float = 16.0
    target_modules: tuple[str, ...] = ("query", "value", "q_proj", "v_proj")
    """Last parts of the paths of the linears to change; those a base lacks are passed over."""


def low_rank(value: Tensor, inputs: Tensor, down: Tensor, up: Tensor, places: Tensor) -> Tensor:
    """``[B, T, D_out]`` changed by banks ``down [L, S, D_in, R]`` and ``up [L, S, R, D_out]``."""
    return value + inputs @ gathered(down, places) @ gathered(up, places)


class Lora(Method):
    """LoRA as language and as task module; the two of a row add up."""

    name: ClassVar[str] = "lora"
    Config = LoraConfig
    peft_types: ClassVar[Mapping[str, Fields]] = {"LORA": lora_files.FIELDS}

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """Per linear place: ``a [L, S, D_in, R]`` and ``b [L, S, R, D_out]``."""
        found = []
        for tower in architecture.towers():
            for path, (wide_in, wide_out) in tower.linears.items():
                place, slots = f"{tower.name}.{path}", f"S.{role}"
                rank = self.rank_axis(role, place)
                found += [
                    BankSpec(
                        name=f"{role}.{self.name}.{place}.{side}",
                        role=role,
                        shape=(tower.depth, slots, *shape),
                    )
                    for side, shape in (("a", (wide_in, rank)), ("b", (rank, wide_out)))
                ]
        return tuple(found)

    def attach(self, hooks: Hooks, role: Role) -> None:
        """Adds ``(x A) B`` to the output of every linear."""
        for tower in hooks.architecture.towers():
            for path in tower.linears:
                prefix = f"{role}.{self.name}.{tower.name}.{path}."
                change = Change(low_rank, (f"{prefix}a", f"{prefix}b"))
                hooks.on_outputs(tower.name, path, change)

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """Kaiming-uniform A and zero B, as PEFT begins; B learns at ``lora_alpha / r`` built in.

        Raises:
            ConfigError: no linear of the base matches ``target_modules``.
        """
        settings = LoraConfig.model_validate(config)
        tensors = {}
        for tower in architecture.towers():
            for path, (wide_in, wide_out) in tower.linears.items():
                if targeted(path, settings.target_modules):
                    prefix, bound = f"{self.name}.{tower.name}.{path}.", wide_in**-0.5
                    a = torch.empty(tower.depth, wide_in, settings.r)
                    tensors[f"{prefix}a"] = a.uniform_(-bound, bound, generator=generator)
                    tensors[f"{prefix}b"] = torch.zeros(tower.depth, settings.r, wide_out)
        if not tensors:
            paths = sorted({path for tower in architecture.towers() for path in tower.linears})
            raise ConfigError(
                f"target_modules {list(settings.target_modules)} match no linear; "
                f"the base has: {', '.join(paths)}"
            )
        return tensors

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT saves them."""
        import peft

        settings = LoraConfig.model_validate(config)
        state, changed = {}, set()
        for tower, layer, path, _ in base.linears():
            prefix = f"{self.name}.{tower.name}.{path}."
            if f"{prefix}a" not in tensors:
                continue
            module = f"{base.layer_path(tower.name, layer)}.{path}"
            changed.add(path)
            unscaled = tensors[f"{prefix}b"][layer] * (settings.r / settings.lora_alpha)
            state[KEY.format(module=module, side="A")] = tensors[f"{prefix}a"][layer].T.contiguous()
            state[KEY.format(module=module, side="B")] = unscaled.T.contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        peft.LoraConfig(
            r=settings.r,
            lora_alpha=settings.lora_alpha,
            target_modules=sorted(changed),
            base_model_name_or_path=base.model.config.name_or_path.rsplit("/", 1)[-1],
            inference_mode=True,
        ).save_pretrained(str(folder))

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads PEFT's files, whichever linears they change; the settings are of plain LoRA.

        Of several ranks the widest is told; factors that differ are in B, and alpha is the rank.
        """
        files = peft_folder.load(folder, base)
        asked = lora_files.places(files, base)
        faults = lora_files.faults(files, asked, base)
        if faults:
            raise ModuleMismatch(folder.name, faults)
        rank, factors = max(each.rank for each in asked), {each.factor for each in asked}
        config = LoraConfig(
            r=rank,
            lora_alpha=rank * factors.pop() if len(factors) == 1 else rank,
            target_modules=peft_folder.named(files, [each.path for each in asked]),
        )
        tensors = lora_files.lora_tensors(files, asked)
        return config, tensors | lora_files.bias_tensors(files, base)

    def recognises(self, folder: Path) -> bool:
        """PEFT's ``LORA``."""
        return described(folder).get("peft_type") == "LORA"
