"""PEFT's checkpoint folders: ``adapter_config.json`` and tensors, a task's head among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptation.checkpoint_files import read_files

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
PREFIXES = ("base_model.model.", "base_model.")
"""What names in a checkpoint begin with; the second in those of prompts."""
HEADS = ("classifier", "score")
"""How PEFT calls the modules that hold a head, in ``modules_to_save``."""
State = dict[str, Tensor]


def load(folder: Path) -> tuple[dict[str, Any], State]:
    """Settings and tensors of a folder, those of a head left aside.

    Raises:
        BrokenModule: files are missing or damaged.
    """
    settings, state = read_files(folder, CONFIG, TENSORS, PICKLE)
    return settings, {key: each for key, each in state.items() if not _of_head(key)}


def load_head(folder: Path) -> tuple[dict[str, Any], State]:
    """Settings of a folder and the tensors of its head, under their names in the model.

    Raises:
        BrokenModule: files are missing or damaged.
    """
    settings, state = read_files(folder, CONFIG, TENSORS, PICKLE)
    head = {key: each for key, each in state.items() if _of_head(key)}
    return settings, {_in_model(key): each for key, each in head.items()}


def faults(settings: Mapping[str, Any]) -> list[str]:
    """What a checkpoint saves of the base beside its method and a head."""
    saved = settings.get("modules_to_save") or []
    others = [each for each in saved if each not in HEADS]
    return [f"modules_to_save is {others!r}; allowed: {', '.join(HEADS)}"] if others else []


def _of_head(key: str) -> bool:
    return _in_model(key).split(".")[0] in HEADS


def _in_model(key: str) -> str:
    prefix = next((each for each in PREFIXES if key.startswith(each)), "")
    return key.removeprefix(prefix)
