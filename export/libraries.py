"""The libraries that write checkpoints, each as a model of a base with a checkpoint in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adaptation import adapterhub, peft_folder
from adaptation.architectures import Architecture, EncoderArchitecture, load_base
from adaptation.methods.method import described
from langmod.specs import PROMPT, Role


@dataclass(frozen=True)
class Module:
    """What is compared: a checkpoint's files, and what was read from them."""

    files: Path
    role: Role
    tensors: Mapping[str, Tensor]
    head: str | None
    """The kind of the head that lies among the files, and was taken."""
    pooling: str


class Library(Protocol):
    """A library that saves checkpoints."""

    package: str
    name: str

    def wrote(self, files: Path) -> bool:
        """Whether a folder is in its format."""
        ...

    def lacks(self, base: Architecture) -> str:
        """Why it cannot run this base; empty where it can."""
        ...

    def model(self, folder: Path, base: Architecture, module: Module) -> nn.Module:
        """A fresh model of the base in a folder, with the checkpoint in place."""
        ...


class Peft:
    """PEFT."""

    package = "peft"
    name = "PEFT"

    def wrote(self, files: Path) -> bool:
        """A checkpoint that says its ``peft_type``."""
        return "peft_type" in described(files)

    def lacks(self, base: Architecture) -> str:
        """It runs any base."""
        del base
        return ""

    def model(self, folder: Path, base: Architecture, module: Module) -> nn.Module:
        """As `PeftModel.from_pretrained` gives it; a head is left aside where it was not taken."""
        from peft import PeftConfig, PeftModel, TaskType

        config = PeftConfig.from_pretrained(str(module.files))
        if module.head is None:
            config.modules_to_save = None
            # Prompts are put in front of rows by the classes of a task alone.
            kinds = {"encoder": TaskType.FEATURE_EXTRACTION, "translator": TaskType.SEQ_2_SEQ_LM}
            config.task_type = kinds[base.kind] if PROMPT in module.tensors else None
        model = _with_head(folder, module) if module.head else _again(folder, base)
        if peft_folder.load(module.files, base).stem:
            model = model.base_model
        return PeftModel.from_pretrained(model, str(module.files), config=config)


class AdapterHub:
    """`adapters`."""

    package = "adapters"
    name = "adapters"

    def wrote(self, files: Path) -> bool:
        """A checkpoint with a table of settings."""
        return isinstance(described(files).get("config"), dict)

    def lacks(self, base: Architecture) -> str:
        """It has encoders of all families here, and none of the translators."""
        encoder = isinstance(base, EncoderArchitecture)
        return "" if encoder else f"it has no {base.model.config.model_type}"

    def model(self, folder: Path, base: Architecture, module: Module) -> nn.Module:
        """Its own class of the base, which alone runs the inverse of an invertible adapter."""
        from adapters import AutoAdapterModel

        model = AutoAdapterModel.from_pretrained(folder, dtype=torch.float32)
        model.base_model.load_state_dict(base.model.base_model.state_dict(), strict=False)
        safe = (module.files / adapterhub.TENSORS).is_file()
        with_head = module.head is not None
        name = model.load_adapter(str(module.files), with_head=with_head, use_safetensors=safe)
        model.set_active_adapters(name)
        if not with_head:
            model.active_head = _words(model, base)
        return model


LIBRARIES: tuple[Library, ...] = (Peft(), AdapterHub())


def _again(folder: Path, base: Architecture) -> Any:
    """A second model of the base with the same weights, those that were drawn included."""
    model = load_base(folder).model
    model.load_state_dict(base.model.state_dict())
    return model


def _with_head(folder: Path, module: Module) -> Any:
    """The base under a head of Hugging Face's own."""
    import transformers

    kinds = {"classify": "SequenceClassification", "tag": "TokenClassification"}
    loader = getattr(transformers, f"AutoModelFor{kinds[module.head or '']}")
    labels = module.tensors[f"{module.head}.out_bias"].numel()
    return loader.from_pretrained(folder, dtype=torch.float32, num_labels=labels)


def _words(model: Any, base: Architecture) -> str | None:
    """Gives AdapterHub's head for words the base's weights; None where it cannot be the same."""
    if "default" not in model.heads or getattr(base, "mix", None) is not None:
        return None
    theirs, ours = (_parts(each) for each in (model.heads["default"], base.vocabulary_head()))
    if [each.weight.shape for each in theirs] != [each.weight.shape for each in ours]:
        return None
    for own, given in zip(theirs, ours, strict=True):
        own.load_state_dict(given.state_dict())
    return "default"


def _parts(head: nn.Module) -> list[Any]:
    """Linears and norms in their order."""
    return [each for each in head.modules() if isinstance(each, nn.Linear | nn.LayerNorm)]
