"""What a method is: its settings, its tensors, its hooks, and the file format others know it by."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Generator, Tensor

from adaptation.architectures import Architecture
from adaptation.foreign_settings import Fields
from adaptation.hooks import Hooks
from langmod.config import Frozen
from langmod.specs import BankSpec, Kind, Role, Vocabulary

METHODS: dict[str, "Method"] = {}


class MethodConfig(Frozen):
    """Settings of a method, with the field names that `adapters` and PEFT use."""


def targeted(path: str, targets: Iterable[str]) -> bool:
    """Whether a linear at this path inside a layer is meant, by PEFT's suffix rule."""
    return any(path == name or path.endswith(f".{name}") for name in targets)


def described(folder: Path, file: str = "adapter_config.json") -> dict[str, Any]:
    """What a checkpoint's JSON file says; empty when there is none that can be read."""
    try:
        found = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Method(ABC):
    """One file of this package: a subclass with a ``name`` registers itself.

    A module's tensors are named ``<method>.<place>.<...>``; where the place is a tower
    they have the layer axis first. Those of integers are settings and never learn.
    """

    name: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    starts_at_base: ClassVar[bool] = True
    """Whether a fresh module leaves the base's answers as they are."""
    peft_types: ClassVar[Mapping[str, Fields]] = {}
    """PEFT's ``peft_type`` of checkpoints that it reads → their settings, sorted."""
    own_words: ClassVar[bool] = False
    """Whether a module's own word vectors take the place of the base's, in and out."""

    def __init_subclass__(cls) -> None:
        if cls.name in METHODS:
            raise TypeError(f"two methods are called {cls.name!r}")
        METHODS[cls.name] = cls()

    @abstractmethod
    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """The banks of this method for one role on a base."""

    def unfit(self, kind: Kind, role: Role) -> str | None:
        """Why this method has no meaning for a role on a kind of base; None where it has one."""
        del kind, role
        return None

    @abstractmethod
    def attach(self, hooks: Hooks, role: Role) -> None:
        """Hangs the method's hooks on a base; they do nothing while no tensors are loaded."""

    @abstractmethod
    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """A new module's tensors before training; the base is unchanged if ``starts_at_base``."""

    @abstractmethod
    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """Saves a checkpoint in the format of the library that this method is known from."""

    @abstractmethod
    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Loads such a checkpoint, scalings folded in, ready for a bank.

        Raises:
            ModuleMismatch: it was made for another shape of base.
            BrokenModule: files are missing or damaged.
        """

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Whether a checkpoint folder without a ``run.json`` is one of this method."""

    def tokenizer(self, config: MethodConfig) -> Path | None:
        """The folder of the tokenizer whose words a module learns; None: the base's own."""
        del config
        return None

    def vocabulary(self, folder: Path) -> tuple[Vocabulary, bytes] | None:
        """The tokens that a checkpoint brings and its ``tokenizer.json``; None: the base's.

        Raises:
            BrokenModule: files are missing or damaged.
        """
        del folder
        return None

    def frozen_layers(
        self, config: MethodConfig, architecture: Architecture
    ) -> dict[str, list[int]]:
        """Tensor → its layers that the settings leave out: zeros that never learn."""
        del config, architecture
        return {}

    def rank_axis(self, role: Role, place: str) -> str:
        """The symbol of the free axis of the banks at one place.

        One symbol per place: where no loaded module has tensors the rank stays 0 and costs nothing.
        """
        return f"R.{role}.{self.name}.{place}"

    def presence_axis(self, role: Role, place: str) -> str:
        """Names that of banks without a rank: 1 where a loaded module has tensors, else 0."""
        return f"E.{role}.{self.name}.{place}"
