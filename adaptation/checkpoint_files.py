"""A checkpoint of another library: a JSON file and tensors, in safetensors or an old pickle."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from langmod.errors import BrokenModule


def read_files(
    folder: Path, config: str, safe: str, pickle: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the JSON file ``config`` says, and tensors; those in safetensors where there are both.

    A pickle is read with ``weights_only``: tensors, never code.

    Raises:
        BrokenModule: files are missing, damaged, or hold something else.
    """
    try:
        described = json.loads((folder / config).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenModule(f"{folder.name}/{config} cannot be read: {error}") from error
    if not isinstance(described, dict):
        raise BrokenModule(f"{folder.name}/{config} is no JSON object")
    if (folder / safe).is_file() or not (folder / pickle).is_file():
        return described, _safe(folder / safe)
    return described, _pickled(folder / pickle)


def _safe(file: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise BrokenModule(f"{file.parent.name}/{file.name} cannot be read: {error}") from error


def _pickled(file: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    # What torch says of a pickle with code is advice to run it.
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, UnpicklingError) as error:
        raise BrokenModule(
            f"{file.parent.name}/{file.name} is damaged, or holds more than tensors"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise BrokenModule(f"{file.parent.name}/{file.name} is no table of tensors")
    return found
