"""AdapterHub's checkpoint folders (`adapters` 1.3): ``adapter_config.json`` and its tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from safetensors.torch import save_file
from torch import Tensor

from adaptation.architectures import Architecture, EncoderArchitecture
from adaptation.checkpoint_files import read_files
from langmod.errors import BrokenModule

CONFIG = "adapter_config.json"
TENSORS = "adapter.safetensors"
PICKLE = "pytorch_adapter.bin"
HEAD_CONFIG = "head_config.json"
HEAD_TENSORS = "model_head.safetensors"
HEAD_PICKLE = "pytorch_model_head.bin"
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


def load(folder: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Name, configuration and tensors of an adapter folder.

    A pickle is read with ``weights_only``: tensors, never code.

    Raises:
        BrokenModule: files are missing or damaged.
    """
    described, state = read_files(folder, CONFIG, TENSORS, PICKLE)
    name, config = described.get("name"), described.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        raise BrokenModule(f"{folder.name} is no AdapterHub checkpoint: no name, or no config")
    return name, {**DEFAULTS, **config}, state


def load_head(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What ``head_config.json`` says and the tensors of a head; None where there is no head.

    Raises:
        BrokenModule: files are missing or damaged.
    """
    files = (HEAD_CONFIG, HEAD_TENSORS, HEAD_PICKLE)
    if not any((folder / file).is_file() for file in files):
        return None
    return read_files(folder, *files)


def faults(folder: Path, base: Architecture) -> list[str]:
    """Where the base that an adapter was made for is another kind than this one."""
    described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    own = {"hidden_size": base.width, "model_type": base.model.config.model_type}
    return [
        f"made for {key} {described[key]!r}, the base has {own[key]!r}"
        for key in own
        if described.get(key, own[key]) != own[key]
    ]


def turned(tensor: Tensor, name: str) -> Tensor:
    """Linear weights are ``[out, in]`` in checkpoints and ``[in, out]`` in banks."""
    return tensor.T if name.endswith("weight") else tensor


def move(state: dict[str, Tensor], key: str, name: str, place: Tensor) -> list[str]:
    """Moves a tensor of a checkpoint, if there, to its place; says where it does not fit."""
    value = state.pop(key, None)
    if value is None:
        return []
    own = turned(value, name)
    if own.shape != place.shape:
        return [f"{key} is {list(own.shape)} here, allowed {list(place.shape)}"]
    place.copy_(own)
    return []


def prefix(base: Architecture, stack: str, layer: int, sublayer: str) -> str:
    """The path of the adapters of one sublayer in the models of `adapters`."""
    path = base.layer_path(stack, layer)
    if isinstance(base, EncoderArchitecture):
        place = "attention.output" if sublayer == "attention" else "output"
        return f"{path}.{place}.adapters"
    return f"{path}.{HOLDERS[sublayer]}.adapters"
