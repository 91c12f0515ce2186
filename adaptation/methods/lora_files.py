"""What PEFT's LoRA checkpoints say and hold, as the tensors of plain LoRA, and of BitFit beside it.

Rank and factor may differ from linear to linear (``rank_pattern``, ``alpha_pattern``,
``use_rslora``): ranks are padded with zeros, factors folded into B. Biases that learned
(``bias``: ``lora_only``, ``all``) become differences from the base's.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptation import peft_folder
from adaptation.architectures import Architecture, Tower
from adaptation.foreign_settings import Fields, counted, is_set, misshapen, words
from adaptation.methods.bitfit import biases
from adaptation.peft_folder import PeftFiles, setting
from langmod.errors import BrokenModule

BIASES = ("none", "lora_only", "all")
LOST = (
    "the biases that learned are missing, as PEFT saved it before 0.21; set it to 'none' in "
    "adapter_config.json to publish the rest"
)
QUIET_STARTS = ("gaussian", "eva", "orthogonal", "mica")
"""``init_lora_weights`` that leave the base as it is, besides true and false."""
CONVERTED = (
    "the base itself was changed when this was trained; save it in PEFT by "
    "save_pretrained(path_initial_model_for_weight_conversion=...), as plain LoRA"
)
LOUD_STARTS = {
    "pissa": CONVERTED,
    "olora": CONVERTED,
    "corda": CONVERTED,
    "lora_ga": CONVERTED,
    "loftq": "the base itself was quantised when this was trained",
}
"""``init_lora_weights`` → why the base here is another than it was trained on."""
FIELDS = peft_folder.FIELDS | Fields(
    served=words(
        "target_modules exclude_modules layers_to_transform layers_pattern r lora_alpha "
        "use_rslora rank_pattern alpha_pattern bias init_lora_weights"
    ),
    # Settings of beginnings, which ``init_lora_weights`` chooses; of what PEFT reads under
    # another setting alone, or for no linear; of the backward pass (VeLoRA).
    idle=words(
        "fan_in_fan_out lora_dropout loftq_config eva_config corda_config lora_ga_config "
        "runtime_config megatron_core qalora_group_size ensure_weight_tying velora_config"
    ),
    refused={
        "use_dora": "DoRA splits weights into magnitude and direction, which no slot holds",
        "use_qalora": "QALoRA pools the inputs of linears, which no slot does",
        "use_bdlora": "BD-LoRA has block-diagonal matrices, which no slot holds",
        "kasa_config": "KaSA truncates the base's weights and puts values between A and B",
        "monteclora_config": "Monteclora has tensors of its own between A and B",
        "arrow_config": "Arrow mixes several modules token by token",
        "alora_invocation_tokens": "aLoRA begins in the middle of a text; slots act on all",
        "layer_replication": "it repeats layers of the base, which are there once",
        "lora_bias": "B has a bias of its own, which no slot of LoRA holds",
        "target_parameters": "it changes parameters that belong to no linear",
        "trainable_token_indices": "it changes word vectors of the base",
        "megatron_config": "it is for Megatron's parallel linears",
    },
)
"""The settings of PEFT's ``LoraConfig``."""


@dataclass(frozen=True)
class Place:
    """What the settings say of one linear."""

    module: str
    tower: Tower
    layer: int
    path: str
    wide_in: int
    wide_out: int
    rank: int
    factor: float
    """The number that B is multiplied by."""


def places(files: PeftFiles, base: Architecture) -> list[Place]:
    """Every linear that the settings name, with its rank and factor.

    Raises:
        BrokenModule: ranks or alphas are missing, or no numbers.
    """
    found = []
    for module, tower, layer, path in files.targets(base):
        name = files.name(module)
        rank = _number(files, name, "r", "rank_pattern")
        alpha = _number(files, name, "lora_alpha", "alpha_pattern")
        factor = alpha / (rank**0.5 if files.settings.get("use_rslora") else rank)
        widths = tower.linears[path]
        found.append(Place(module, tower, layer, path, *widths, int(rank), factor))
    return found


def _number(files: PeftFiles, name: str, setting_name: str, pattern_name: str) -> float:
    """A linear's own number, by PEFT's rule: the first pattern that its name ends with."""
    value = setting(files.settings, setting_name, files.folder)
    patterns = files.settings.get(pattern_name) or {}
    for pattern, own in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            value = own
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise BrokenModule(f"{setting_name} of {name} is {value!r}; allowed: a number above 0")
    return float(value)


def faults(files: PeftFiles, asked: Sequence[Place], base: Architecture) -> list[str]:
    """What a checkpoint asks for that slots cannot hold, every reason at once."""
    settings = files.settings
    said = [
        *peft_folder.faults(settings, FIELDS),
        *_start_faults(settings.get("init_lora_weights", True)),
        *files.target_faults(base),
        *_bias_faults(files, base),
    ]
    # Tensors of another function are as many and as large as that function has them.
    other = any(is_set(settings.get(name)) for name in FIELDS.refused)
    return said if other else [*said, *_tensor_faults(files, asked, base)]


def _tensor_faults(files: PeftFiles, asked: Sequence[Place], base: Architecture) -> list[str]:
    shapes = {
        files.key(place.module, f"lora_{side}.weight"): shape
        for place in asked
        for side, shape in (
            ("A", [place.rank, place.wide_in]),
            ("B", [place.wide_out, place.rank]),
        )
    }
    biases_asked = list(_bias_keys(files, base))
    lost = bool(biases_asked) and files.state.keys().isdisjoint(biases_asked)
    beside = [*([] if lost else biases_asked), *_idle_keys(files, asked)]
    held = {key: shape for key, shape in shapes.items() if key in files.state}
    return [
        *files.tensor_faults(base, {**shapes, **dict.fromkeys(beside)}),
        *misshapen({key: (files.state[key].shape, shape) for key, shape in held.items()}),
        *([f"bias is {files.settings['bias']!r}: {LOST}"] if lost else []),
    ]


def _idle_keys(files: PeftFiles, asked: Iterable[Place]) -> list[str]:
    """Tensors of the backward pass that are there."""
    held = [files.key(place.module, "lora_velora_embed") for place in asked]
    return [key for key in held if files.settings.get("velora_config") and key in files.state]


def _start_faults(start: object) -> list[str]:
    name = str(start).lower()
    if start is None or isinstance(start, bool) or name in QUIET_STARTS:
        return []
    why = next((why for loud, why in LOUD_STARTS.items() if name.startswith(loud)), None)
    allowed = f"allowed: true, false, {', '.join(QUIET_STARTS)}"
    return [f"init_lora_weights is {start!r}: {why or allowed}"]


def lora_tensors(files: PeftFiles, asked: Iterable[Place]) -> dict[str, Tensor]:
    """Banks' tensors ``[L, D_in, R]`` and ``[L, R, D_out]`` of linears in their places."""
    piles: dict[str, list[Place]] = defaultdict(list)
    for place in asked:
        piles[f"lora.{place.tower.name}.{place.path}."].append(place)
    tensors = {}
    for prefix, pile in piles.items():
        first, rank = pile[0], max(each.rank for each in pile)
        a = torch.zeros(first.tower.depth, first.wide_in, rank)
        b = torch.zeros(first.tower.depth, rank, first.wide_out)
        for each in pile:
            down, up = (files.state[files.key(each.module, f"lora_{s}.weight")] for s in "AB")
            a[each.layer, :, : each.rank] = down.T.float()
            b[each.layer, : each.rank] = up.T.float() * each.factor
        tensors[f"{prefix}a"], tensors[f"{prefix}b"] = a, b
    return tensors


def bias_tensors(files: PeftFiles, base: Architecture) -> dict[str, Tensor]:
    """BitFit's tensors ``[L, 1, D]`` of the biases that differ from the base's."""
    tensors: dict[str, Tensor] = {}
    for key, tower, layer, path, bias in biases(base):
        value = next((files.state[k] for k in _forms(files, key) if k in files.state), None)
        if value is None:
            continue
        difference = value.float() - bias.detach().float()
        if difference.any():
            name = f"bitfit.{tower.name}.{path}.shift"
            rows = tensors.setdefault(name, torch.zeros(tower.depth, 1, len(bias)))
            rows[layer, 0] = difference
    return tensors


def _forms(files: PeftFiles, key: str) -> tuple[str, str]:
    """Where the bias of this full name lies: of a linear that LoRA changes, and of any other."""
    module = key.removesuffix(".bias")
    return files.key(module, "base_layer.bias"), files.key(module, "bias")


def _bias_keys(files: PeftFiles, base: Architecture) -> Iterator[str]:
    """The biases of layers that the settings let learn."""
    which = files.settings.get("bias") or "none"
    targets = {module for module, *_ in files.targets(base)}
    for key, *_ in biases(base):
        changed = key.removesuffix(".bias") in targets
        if which == "all" or (which == "lora_only" and changed):
            yield _forms(files, key)[0 if changed else 1]
    yield from _kept(files, base)


def _kept(files: PeftFiles, base: Architecture) -> Iterator[str]:
    """Biases outside the layers that are still the base's own: they change nothing."""
    if files.settings.get("bias") != "all":
        return
    own = {files.key(key.removesuffix(".bias"), "bias"): each
           for key, each in base.model.state_dict().items() if key.endswith(".bias")}  # fmt: skip
    for key, value in files.state.items():
        base_value = own.get(key)
        if (
            base_value is not None
            and base_value.shape == value.shape
            and torch.equal(value.float(), base_value.float())
        ):
            yield key


def _bias_faults(files: PeftFiles, base: Architecture) -> list[str]:
    which = files.settings.get("bias") or "none"
    if which not in BIASES:
        return [f"bias is {which!r}; allowed: {', '.join(BIASES)}"]
    odd = [
        key
        for name, _, _, _, bias in biases(base)
        for key in _forms(files, name)
        if key in files.state and files.state[key].shape != bias.shape
    ]
    return counted("it has another shape than the base's", odd)
