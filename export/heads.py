"""Heads that PEFT and AdapterHub save beside a module, as the heads of our tasks.

Both are Hugging Face's own: a linear on every token, or on the first token a dense layer, tanh and
a linear. What is another function is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptation import adapterhub, peft_folder
from adaptation.architectures import Architecture
from adaptation.foreign_settings import counted
from adaptation.methods.method import described
from langmod.errors import ModuleMismatch
from langmod.specs import Pooling

State = Mapping[str, Tensor]
STATIC = {"SequenceClassification": "classify", "TokenClassification": "tag", "MaskedLM": "words"}
"""End of a Hugging Face model's class → kind of its head."""
ASIDE = "--no-head leaves it aside, for the base's own answers"
FLEXIBLE = {"classification": "classify", "tagging": "tag"}
"""``head_type`` of AdapterHub's heads → kind."""
LINEAR = 2.0**-20
"""Where there is no dense layer the vector passes ours this small: there tanh(x) is x in floats."""


@dataclass(frozen=True)
class Head:
    """A foreign head as tensors of the banks of its kind."""

    kind: str
    tensors: Mapping[str, Tensor]
    labels: tuple[str, ...] = ()
    """Empty where the checkpoint does not name them."""
    pooling: Pooling = "first"
    """Which vector a classifier reads, in the words of a manifest."""

    @property
    def classes(self) -> int:
        """How many labels it tells apart."""
        return int(self.tensors[f"{self.kind}.out_bias"].numel())


@dataclass(frozen=True)
class SavedHead:
    """A head as its checkpoint holds it."""

    kind: str
    linears: Sequence[str]
    """Names of its linears in their order."""
    state: State
    labels: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)
    pooling: Pooling = "first"


def read_head(folder: Path, base: Architecture) -> Head | None:
    """The head beside a module, if there is one that is not the base's own.

    Raises:
        ModuleMismatch: it is another function than the heads of our tasks; lists every reason.
        BrokenModule: files are missing or damaged.
    """
    found = _of_peft(folder) if "peft_type" in described(folder) else _of_hub(folder, base)
    if found is None:
        return None
    faults = [*found.faults, *(_shape_faults(found, base.width) if not found.faults else [])]
    if faults:
        raise ModuleMismatch(folder.name, [f"head: {each}" for each in faults])
    return Head(found.kind, _tensors(found, base.width), found.labels, found.pooling)


def _of_peft(folder: Path) -> SavedHead | None:
    """PEFT names no labels and saves whole modules of Hugging Face's models."""
    settings, state = peft_folder.load_head(folder)
    named = [each for each in settings.get("modules_to_save") or [] if each in peft_folder.HEADS]
    if not state:
        lost = f"modules_to_save names {', '.join(named)}, and no tensor of it is here; {ASIDE}"
        return SavedHead("", (), state, faults=[lost]) if named else None
    task = settings.get("task_type")
    kind = {"SEQ_CLS": "classify", "TOKEN_CLS": "tag"}.get(str(task))
    if kind is None:
        return SavedHead(
            "", (), state, faults=[f"task_type is {task!r}; allowed: SEQ_CLS, TOKEN_CLS; {ASIDE}"]
        )
    found = _static(kind, state)
    # Its classifiers read the vector that comes first, a prompt's own where there is one.
    prompt = kind == "classify" and settings.get("peft_type") == "PROMPT_TUNING"
    return replace(found, pooling="prompt") if prompt else found


def _static(kind: str, state: State, labels: tuple[str, ...] = ()) -> SavedHead:
    """The head of one of Hugging Face's models for a task."""
    linears = ("classifier",) if kind == "tag" else ("classifier.dense", "classifier.out_proj")
    faults = []
    if kind == "classify" and "classifier.weight" in state:
        faults.append(
            "it reads the pooler of the base, which bases of masked language models lack; "
            "allowed: dense, tanh and linear as in XLM-R"
        )
    return SavedHead(kind, linears, state, labels, faults)


def _of_hub(folder: Path, base: Architecture) -> SavedHead | None:
    loaded = adapterhub.load_head(folder)
    if loaded is None:
        return None
    settings, state = loaded
    config = settings.get("config")
    if config:
        if config.get("head_type") == "masked_lm" and _is_the_bases(state, base):
            return None
        return _flexible(settings["name"], config, state)
    model = str(settings.get("model_class"))
    kind = next((kind for end, kind in STATIC.items() if model.endswith(end)), None)
    if kind == "words":
        other = f"it is a head for words other than the base's, which alone is served; {ASIDE}"
        return None if _is_own(state, base) else SavedHead("", (), state, faults=[other])
    if kind is None:
        allowed = ", ".join(f"…For{end}" for end in STATIC)
        return SavedHead(
            "", (), state, faults=[f"model_class is {model}; allowed: {allowed}; {ASIDE}"]
        )
    return _static(kind, state, _names(settings.get("label2id")))


def _is_own(state: State, base: Architecture) -> bool:
    """Whether a head for words is the base's, which did not learn."""
    own = base.model.state_dict()
    return all(
        key in own and own[key].shape == each.shape and torch.allclose(own[key], each.float())
        for key, each in state.items()
    )


def _is_the_bases(state: State, base: Architecture) -> bool:
    """Whether AdapterHub's head for words is the base's: its linears and norm in their order."""
    kinds = (torch.nn.Linear, torch.nn.LayerNorm)
    parts = [each for each in base.vocabulary_head().modules() if isinstance(each, kinds)]
    theirs = sorted({int(key.rsplit(".", 2)[1]) for key in state})
    if len(theirs) != len(parts):
        return False
    own = dict(zip(theirs, parts, strict=True))
    values = {key: getattr(own[int(key.rsplit(".", 2)[1])], key.rsplit(".", 1)[1]) for key in state}
    return all(
        value is not None and value.shape == state[key].shape
        and torch.allclose(value, state[key].float())
        for key, value in values.items()
    )  # fmt: skip


def _flexible(name: str, config: Mapping[str, Any], state: State) -> SavedHead:
    """A head of AdapterHub's own: ``layers`` times dropout, linear, activation."""
    kind, layers = FLEXIBLE.get(str(config.get("head_type")), ""), config.get("layers")
    if not kind:
        allowed = f"allowed: {', '.join(FLEXIBLE)}; {ASIDE}"
        return SavedHead(
            "", (), state, faults=[f"head_type is {config.get('head_type')!r}; {allowed}"]
        )
    faults = []
    if layers not in ((1, 2) if kind == "classify" else (1,)):
        faults.append(f"layers is {layers!r}; allowed: {'1 or 2' if kind == 'classify' else '1'}")
    if layers == 2 and config.get("activation_function") != "tanh":
        faults.append(f"activation_function is {config.get('activation_function')!r}; "
                      "allowed: 'tanh'")  # fmt: skip
    if config.get("use_pooler"):
        faults.append("use_pooler is True; bases of masked language models have no pooler")
    # Dropout, linear, activation; dropout, linear.
    places = (1, 4) if layers == 2 else (1,)
    linears = [f"heads.{name}.{place}" for place in places]
    return SavedHead(kind, linears, state, _names(config.get("label2id")), faults)


def _names(label2id: Mapping[str, int] | None) -> tuple[str, ...]:
    return tuple(sorted(label2id, key=lambda label: int(label2id[label]))) if label2id else ()


def _shape_faults(found: SavedHead, width: int) -> list[str]:
    faults = []
    for place, linear in enumerate(found.linears):
        weight = found.state.get(f"{linear}.weight")
        last = place == len(found.linears) - 1
        if weight is None:
            faults.append(f"{linear}.weight is missing")
        elif weight.dim() != 2 or weight.shape[1] != width or not (last or len(weight) == width):
            wanted = ["labels" if last else width, width]
            faults.append(f"{linear}.weight has shape {list(weight.shape)}, allowed {wanted}")
        elif last and weight.shape[0] < 2:
            faults.append("it has one output, a number and no label")
    used = {f"{linear}.{part}" for linear in found.linears for part in ("weight", "bias")}
    return faults + counted("is unknown", found.state.keys() - used)


def _tensors(found: SavedHead, width: int) -> dict[str, Tensor]:
    """Linear weights are ``[out, in]`` in checkpoints and ``[in, out]`` in banks."""
    *inner, out = [_linear(found.state, each) for each in found.linears]
    tensors = {"out_weight": out[0], "out_bias": out[1]}
    if found.kind == "classify":
        small = torch.eye(width) * LINEAR, torch.zeros(width)
        tensors["dense_weight"], tensors["dense_bias"] = inner[0] if inner else small
        if not inner:
            tensors["out_weight"] = out[0] / LINEAR
    return {f"{found.kind}.{name}": tensor for name, tensor in tensors.items()}


def _linear(state: State, name: str) -> tuple[Tensor, Tensor]:
    weight = state[f"{name}.weight"].float()
    bias = state.get(f"{name}.bias", torch.zeros(len(weight)))
    return weight.T.contiguous(), bias.float()
