"""AdapterHub's checkpoint folders (`adapters` 1.3): ``adapter_config.json`` and its tensors."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from safetensors.torch import save_file
from torch import Tensor

from adaptation.architectures import Architecture, EncoderArchitecture
from adaptation.checkpoint_files import read_files
from adaptation.foreign_settings import Fields, misshapen, missing, words
from langmod.errors import BrokenModule

CONFIG = "adapter_config.json"
TENSORS = "adapter.safetensors"
PICKLE = "pytorch_adapter.bin"
FUSION = "adapter_fusion_config.json"
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
FIELDS = Fields(
    served=words(
        "architecture cross_adapter inv_adapter inv_adapter_reduction_factor is_parallel leave_out "
        "ln_after ln_before mh_adapter non_linearity original_ln_after original_ln_before "
        "output_adapter phm_layer reduction_factor residual_before_ln scaling use_gating"
    ),
    # How training began and what it dropped; what counts with ``phm_layer`` or ``ln_after`` alone,
    # which no method here has.
    idle=words(
        "adapter_residual_before_ln dropout factorized_phm_W factorized_phm_rule "
        "hypercomplex_nonlinearity init_weights init_weights_seed learn_phm phm_bias phm_c_init "
        "phm_dim phm_init_range phm_rank shared_W_phm shared_phm_rule stochastic_depth"
    ),
)
"""The settings of `adapters`' ``BnConfig``; those served are read, or compared with a method's."""
OLD_NAMES = {
    "attention_text_task_adapters": "adapters", "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters", "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}  # fmt: skip
"""Parts of tensors' names in the first versions → today's."""
OLD_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}
"""What checkpoints without a version mean."""
INVERTIBLE = ".invertible_adapters."
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
    state = {_today(key): each for key, each in state.items()}
    return name, _updated(described, {**DEFAULTS, **config}, state), state


def _today(key: str) -> str:
    """A tensor's name as it was before adapters of languages and tasks were the same."""
    for old, new in OLD_NAMES.items():
        key = key.replace(old, new)
    return key


def _updated(
    described: Mapping[str, Any], config: dict[str, Any], state: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Settings of old versions in the words of today's, as `adapters` itself takes them."""
    found = dict(config)
    block = found.pop("invertible_adapter", None)
    if isinstance(block, dict):
        found["inv_adapter"] = block.get("block_type")
        found["inv_adapter_reduction_factor"] = block.get("reduction_factor")
    activation = found.get("non_linearity")
    if isinstance(activation, str):
        renamed = activation if "version" in described else OLD_ACTIVATIONS.get(activation)
        found["non_linearity"] = (renamed or activation).lower()
    # Tasks of the first versions name the block of a language that they were trained on.
    if described.get("type") == "text_task" and not any(INVERTIBLE in key for key in state):
        found["inv_adapter"] = None
    return found


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


def fill(state: dict[str, Tensor], wanted: Iterable[tuple[str, str, Tensor]]) -> list[str]:
    """Moves tensors out of a checkpoint to their places, given as key, bank's name and place.

    Says which are missing, and which have another shape.
    """
    gone, shapes = [], {}
    for key, name, place in wanted:
        value = state.pop(key, None)
        if value is None:
            gone.append(key)
            continue
        shapes[key] = (value.shape, turned(place, name).shape)
        if turned(value, name).shape == place.shape:
            place.copy_(turned(value, name))
    return [*missing((), gone), *misshapen(shapes)]


def prefix(base: Architecture, tower: str, layer: int, sublayer: str) -> str:
    """The path of the adapters of one sublayer in the models of `adapters`."""
    path = base.layer_path(tower, layer)
    if isinstance(base, EncoderArchitecture):
        place = "attention.output" if sublayer == "attention" else "output"
        return f"{path}.{place}.adapters"
    return f"{path}.{HOLDERS[sublayer]}.adapters"
