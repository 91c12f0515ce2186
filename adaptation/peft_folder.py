"""PEFT's checkpoint folders: ``adapter_config.json`` and tensors, a task's head among them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from adaptation.architectures import Architecture, Tower
from adaptation.checkpoint_files import read_files
from adaptation.foreign_settings import Fields, counted, is_set, missing, words
from langmod.errors import BrokenModule

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
ROOT = "base_model.model."
PREFIXES = (ROOT, "base_model.")
"""What names in a checkpoint begin with; the second in those of prompts."""
HEADS = ("classifier", "score")
"""How PEFT calls the modules that hold a head, in ``modules_to_save``."""
ALL_LINEAR = "all-linear"
FIELDS = Fields(
    served=words("task_type peft_type modules_to_save"),
    idle=words("auto_mapping peft_version base_model_name_or_path revision inference_mode"),
)
"""The settings that checkpoints of every kind have."""
State = dict[str, Tensor]


class Target(NamedTuple):
    """A linear that a checkpoint's settings name."""

    module: str
    """The full name of the base's part that it changes."""
    tower: Tower
    layer: int
    path: str
    """Inside the layer."""


@dataclass(frozen=True, eq=False)
class PeftFiles:
    """A checkpoint as it was read, its head left aside."""

    folder: str
    settings: Mapping[str, Any]
    state: State
    stem: str
    """What the base's names begin with and the checkpoint's do not: it was trained on the model
    without its head."""

    def name(self, module: str) -> str:
        """A module's name in the model that was trained."""
        return module.removeprefix(self.stem)

    def key(self, module: str, tail: str) -> str:
        """The name of a module's tensor."""
        return f"{ROOT}{self.name(module)}.{tail}"

    def targets(self, base: Architecture) -> Iterator[Target]:
        """Every linear in a layer of the base that the settings name."""
        for module, (tower, layer, path) in base.linear_paths().items():
            if targeted(self.settings, self.name(module)):
                yield Target(module, tower, layer, path)

    def target_faults(self, base: Architecture) -> list[str]:
        """What is wrong with the settings that say which modules are changed."""
        asked = self.settings.get("target_modules")
        if not is_set(asked):
            return [f"target_modules is {asked!r}; allowed: a list of names, or an expression"]
        if any(True for _ in self.targets(base)):
            return []
        return [f"target_modules {asked!r} match no linear in a layer of this base"]

    def tensor_faults(self, base: Architecture, wanted: Mapping[str, object]) -> list[str]:
        """Tensors that are missing or surplus beside those that the settings ask for."""
        surplus = self.state.keys() - wanted.keys()
        linears = [f"{ROOT}{self.name(each)}." for each in base.linear_paths()]
        elsewhere = {key for key in surplus if not key.startswith(tuple(linears))}
        return [
            *missing(self.state, wanted),
            *counted("is no linear in a layer of this base", elsewhere),
            *counted("the settings do not ask for it", surplus - elsewhere),
        ]


def load(folder: Path, base: Architecture) -> PeftFiles:
    """Settings and tensors of a folder, those of a head left aside.

    Raises:
        BrokenModule: files are missing or damaged.
    """
    settings, state = read_files(folder, CONFIG, TENSORS, PICKLE)
    _check_expressions(folder, settings)
    own = {key: each for key, each in state.items() if not _of_head(key)}
    paths = base.linear_paths()
    stem = f"{base.model.base_model_prefix}."
    if not all(path.startswith(stem) for path in paths):
        return PeftFiles(folder.name, settings, own, "")
    whole = not own or any(key.startswith(f"{ROOT}{stem}") for key in own)
    inner = {path.removeprefix(stem).split(".")[0] for path in paths}
    bare = any(key.startswith(f"{ROOT}{each}.") for key in own for each in inner)
    return PeftFiles(folder.name, settings, own, "" if whole or not bare else stem)


def _check_expressions(folder: Path, settings: Mapping[str, Any]) -> None:
    for name in ("target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"):
        given = settings.get(name)
        for each in [given] if isinstance(given, str) else given if isinstance(given, dict) else []:
            try:
                re.compile(each)
            except re.error as error:
                raise BrokenModule(
                    f"{folder.name}/{CONFIG}: {name} {each!r} is no expression: {error}"
                ) from error


def load_head(folder: Path) -> tuple[dict[str, Any], State]:
    """Settings of a folder and the tensors of its head, under their names in the model.

    Raises:
        BrokenModule: files are missing or damaged.
    """
    settings, state = read_files(folder, CONFIG, TENSORS, PICKLE)
    head = {key: each for key, each in state.items() if _of_head(key)}
    return settings, {_in_model(key): each for key, each in head.items()}


def named(files: PeftFiles, paths: Iterable[str]) -> tuple[str, ...]:
    """``target_modules`` as a list: as it is told, or the paths that an expression matches."""
    asked = files.settings["target_modules"]
    return tuple(dict.fromkeys(paths)) if isinstance(asked, str) else tuple(asked)


def faults(settings: Mapping[str, Any], fields: Fields) -> list[str]:
    """Settings that a method does not serve, and what is saved of the base beside a head."""
    saved = settings.get("modules_to_save") or []
    others = [each for each in saved if each not in HEADS]
    beside = [f"modules_to_save is {others!r}; allowed: {', '.join(HEADS)}"] if others else []
    return [*fields.faults(settings), *beside]


def setting(settings: Mapping[str, Any], name: str, folder: str) -> Any:
    """One that a checkpoint must have.

    Raises:
        BrokenModule: it has none.
    """
    if name not in settings:
        raise BrokenModule(f"{folder}/{CONFIG} says no {name}")
    return settings[name]


def targeted(settings: Mapping[str, Any], module: str) -> bool:
    """Whether PEFT changes a linear of this full name, by its own rules."""
    if _excluded(settings, module):
        return False
    asked = settings.get("target_modules") or []
    if isinstance(asked, str):
        return asked == ALL_LINEAR or re.fullmatch(asked, module) is not None
    if module in asked:
        return True
    layers = settings.get("layers_to_transform")
    if not any(module.endswith(f".{each}") for each in asked):
        return False
    chosen = [layers] if isinstance(layers, int) else layers
    return not chosen or _layer(settings, module) in chosen


def _excluded(settings: Mapping[str, Any], module: str) -> bool:
    excluded = settings.get("exclude_modules") or []
    if isinstance(excluded, str):
        return re.fullmatch(excluded, module) is not None
    return any(module == each or module.endswith(f".{each}") for each in excluded)


def _layer(settings: Mapping[str, Any], module: str) -> int | None:
    """The number of the layer that a module is in."""
    patterns = settings.get("layers_pattern") or []
    named = [patterns] if isinstance(patterns, str) else patterns
    forms = [rf"(?:^|.*?\.){each}\.(\d+)\." for each in named] or [r".*?\.[^.]*\.(\d+)\."]
    found = next(filter(None, (re.match(form, module) for form in forms)), None)
    return None if found is None else int(found[1])


def _of_head(key: str) -> bool:
    return _in_model(key).split(".")[0] in HEADS


def _in_model(key: str) -> str:
    prefix = next((each for each in PREFIXES if key.startswith(each)), "")
    return key.removeprefix(prefix)
