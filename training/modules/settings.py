"""The settings of ``langmod module``."""

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from adaptation.methods import METHODS
from langmod.config import Frozen, RunConfig, describe
from langmod.errors import ConfigError
from langmod.specs import Role
from training.data.pair_mix import PairMix
from training.data.task_data import TaskSettings
from training.loop.trainer import Optimisation


class VectorSettings(Frozen):
    """What a language module of a sentence encoder learns from pairs with the pivot."""

    pivot: str = "en"
    pairs: int = Field(default=3, ge=1)
    """Pairs with each block of the batch."""
    distil: float = 5.0
    """Weight of the distance (1 less the cosine) to the bare base's vector of the pivot's side."""
    contrast: float = 0.3
    """Weight of telling it from the vectors of the batch's other pairs."""
    temperature: float = 0.02
    tokens: int = 64
    """Longer sentences are cut."""


class ModuleConfig(RunConfig):
    """One run of ``training module``."""

    name: str
    base: str
    """A folder or hub id that ``base.json`` describes."""
    role: Role
    method: str = "bottleneck"
    method_config: dict[str, JsonValue] = Field(default_factory=dict)
    train: Literal["module", "head", "base", "both"] = "module"
    """What learns: the module; a task's head alone; the whole base, or a language module and the
    base under it (neither is ever published)."""
    start_from: Path | None = None
    """A finished run of the same method on a base of this shape, from whose module this one goes
    on; None: a fresh one."""
    keep: bool = False
    """A fine-tuned base is kept in ``out/base``; otherwise only its scores are. That under a module
    always is."""
    sentences: int = Field(default=100, ge=1)
    """Sentences of a language's held-out text, or pairs of a direction and origin, that are scored
    at the end."""
    language: str | None = None
    """Language module of an encoder: the language."""
    source: str | None = None
    target: str | None = None
    """Language module of a translator: its direction."""
    corpus: Path | None = None
    """Language modules: where their text is."""
    max_sentences: int | None = None
    """Language module of an encoder: at most so many training sentences, the first ones."""
    vectors: VectorSettings | None = None
    """Language module of an encoder: pairs beside the masked text; None: none."""
    task: TaskSettings | None = None
    language_modules: str | None = None
    """Task modules: what to stack on, a path with ``{language}`` to runs or published modules;
    None for the bare base."""
    block_tokens: int = 128
    mask_rate: float = 0.15
    max_pairs: int | None = None
    """Language module of a translator: at most so many training pairs, drawn by seed."""
    mixed_in: PairMix = PairMix()
    """Language module of a translator: synthetic pairs and denoising beside the real pairs."""
    out: Path
    score: bool = True
    """Score it on the dev split once it is trained."""
    licence: str = "CC-BY-SA-4.0"
    optimisation: Optimisation

    @property
    def text(self) -> Path:
        """The corpus of a language module.

        Raises:
            ConfigError: none is given.
        """
        if self.corpus is None:
            raise ConfigError(f"{self.name}: a language module needs `corpus`")
        return self.corpus

    def checked(self) -> "ModuleConfig":
        """Itself.

        Raises:
            ConfigError: fields that do not go together; all are listed.
        """
        faults = []
        if self.method not in METHODS:
            faults.append(f"method is {self.method!r}; allowed: {', '.join(METHODS)}")
        else:
            faults += self._settings_faults()
        faults += self._role_faults()
        if faults:
            raise ConfigError(f"{self.name}: {'; '.join(faults)}")
        return self

    @property
    def has_module(self) -> bool:
        """Whether a module learns."""
        return self.train in ("module", "both")

    @property
    def base_learns(self) -> bool:
        """Whether the base does."""
        return self.train in ("base", "both")

    def _role_faults(self) -> list[str]:
        rules = {
            "a task module needs `task`": self.role == "task" and self.task is None,
            "a language module needs `corpus`": self.role == "language" and self.corpus is None,
            "a language module needs `language`, or `source` and `target`": (
                self.role == "language" and not (self.language or (self.source and self.target))
            ),
            "`train: both` and `start_from` are for language modules": (
                self.role == "task" and (self.train == "both" or self.start_from is not None)
            ),
            "`vectors` is for language modules of encoders": (
                self.vectors is not None and not self.language
            ),
            "`mixed_in` and `max_pairs` are for directions of a translator": (
                not self.source and (self.mixed_in != PairMix() or self.max_pairs is not None)
            ),
        }
        return [fault for fault, broken in rules.items() if broken]

    def _settings_faults(self) -> list[str]:
        try:
            METHODS[self.method].Config.model_validate(self.method_config)
        except ValidationError as error:
            return [f"method_config: {describe(error)}"]
        return []
