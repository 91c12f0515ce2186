"""AdapterHub's checkpoint folders (`adapters` 1.3): ``adapter_config.json`` and its tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import JsonValue
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from langmod.architectures import Architecture, EncoderArchitecture
from langmod.errors import BrokenModule, ModuleMismatch

CONFIG = "adapter_config.json"
TENSORS = "adapter.safetensors"
PICKLE = "pytorch_adapter.bin"
DEFAULTS: dict[str, JsonValue] = {
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
    "original_ln_before": False,
    "output_adapter": True,
    "phm_layer": False,
    "residual_before_ln": True,
    "scaling": 1.0,
    "stochastic_depth": 0.0,
    "use_gating": False,
}
"""``BnConfig``'s fields besides the two that every configuration sets."""
HOLDERS = {"attention": "attention_adapters", "cross": "cross_attention_adapters",
           "output": "output_adapters"}  # fmt: skip


def save(
    folder: Path, base: Architecture, config: Mapping[str, JsonValue], state: Mapping[str, Tensor]
) -> None:
    """Writes an adapter named like its folder, as `adapters` saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    described = {
        "config": {**DEFAULTS, **config},
        "hidden_size": base.width,
        "model_class": type(base.model).__name__,
        "model_name": base.model.config.name_or_path.rsplit("/", 1)[-1],
        "model_type": base.model.config.model_type,
        "name": folder.name,
        "version": "adapters.1.3.0",
    }
    (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, base: Architecture) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Name, configuration and tensors of an adapter folder.

    A pickle is read with ``weights_only``: tensors, never code.

    Raises:
        BrokenModule: files are missing or damaged.
        ModuleMismatch: it was made for another width.
    """
    try:
        described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name, width = described["name"], described["hidden_size"]
        config = {**DEFAULTS, **described["config"]}
        state = _tensors(folder)
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UnpicklingError
    ) as error:  # fmt: skip
        raise BrokenModule(f"{folder.name} is no AdapterHub checkpoint: {error}") from error
    if width != base.width:
        raise ModuleMismatch(name, [f"made for width {width}, the base has {base.width}"])
    return name, config, state


def _tensors(folder: Path) -> dict[str, Tensor]:
    if (folder / TENSORS).is_file() or not (folder / PICKLE).is_file():
        return load_file(folder / TENSORS)
    return dict(torch.load(folder / PICKLE, map_location="cpu", weights_only=True))


def turned(tensor: Tensor, name: str) -> Tensor:
    """Linear weights are ``[out, in]`` in checkpoints and ``[in, out]`` in banks."""
    return tensor.T if name.endswith("weight") else tensor


def prefix(base: Architecture, stack: str, layer: int, sublayer: str) -> str:
    """The path of the adapters of one sublayer in the models of `adapters`."""
    path = base.layer_path(stack, layer)
    if isinstance(base, EncoderArchitecture):
        place = "attention.output" if sublayer == "attention" else "output"
        return f"{path}.{place}.adapters"
    return f"{path}.{HOLDERS[sublayer]}.adapters"
