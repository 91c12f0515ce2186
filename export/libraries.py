"""The libraries that write checkpoints, each as a model of a base with a checkpoint in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adaptation import adapterhub, peft_folder
from adaptation.architectures import Architecture, EncoderArchitecture
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
        bare = bool(peft_folder.load(module.files, base).stem)
        model = _loader(base, module.head, bare).from_pretrained(
            folder, dtype=torch.float32, **_labels(module)
        )
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
        # It takes the vocabulary's weights along, and leaves out their bias.
        model.heads["default"][-1].bias.data.copy_(base.vocabulary.bias)
        safe = (module.files / adapterhub.TENSORS).is_file()
        with_head = module.head is not None
        name = model.load_adapter(str(module.files), with_head=with_head, use_safetensors=safe)
        model.set_active_adapters(name)
        if not with_head:
            model.active_head = "default"
        return model


LIBRARIES: tuple[Library, ...] = (Peft(), AdapterHub())


def _loader(base: Architecture, head: str | None, bare: bool) -> Any:
    """The class of Hugging Face's that a checkpoint is put into."""
    import transformers

    if head is not None:
        kinds = {"classify": "SequenceClassification", "tag": "TokenClassification"}
        return getattr(transformers, f"AutoModelFor{kinds[head]}")
    if bare:
        return transformers.AutoModel
    name = "MaskedLM" if base.kind == "encoder" else "Seq2SeqLM"
    return getattr(transformers, f"AutoModelFor{name}")


def _labels(module: Module) -> dict[str, int]:
    if module.head is None:
        return {}
    return {"num_labels": module.tensors[f"{module.head}.out_bias"].numel()}
