"""A study as its yaml says it: arms, seeds, stages, what is compared; and the runs it asks for."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, ValidationError

from langmod.config import Frozen, RunConfig, describe
from langmod.errors import ConfigError
from training.commands import COMMANDS, Command
from training.studies.resolving import context_of, merged, plain, resolved_stages

LATE = ("values", "sizes", "shared_stages", "stages", "arms")
"""Parts of a yaml in which ``${arm}``, ``${seed}``, ``${run}``, ``${shared}`` and ``${each}`` may
stand: they are resolved run by run."""


class Stage(Frozen):
    """One command of ``training.commands`` with its yaml and what is changed in it."""

    command: str
    yaml: Path
    set: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Dotted field → value."""

    def settings(self, seed: int | None = None) -> RunConfig:
        """The command's settings, with the seed of the run where they have one.

        Raises:
            ConfigError: no such command, or settings that it refuses.
        """
        kind = _command(self.command).settings
        changes = dict(self.set)
        if seed is not None and "optimisation" in kind.model_fields:
            changes["optimisation.seed"] = seed
        elif seed is not None and "seed" in kind.model_fields:
            changes["seed"] = seed
        return kind.load(
            self.yaml, [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        )

    def make(self, settings: RunConfig) -> None:
        """Runs the command."""
        _command(self.command).run(settings)


def _command(name: str) -> Command:
    if name not in COMMANDS:
        raise ConfigError(f"no command {name!r}; known: {', '.join(COMMANDS)}")
    return COMMANDS[name]


class Run(Frozen):
    """One arm with one seed: stages in order."""

    arm: str
    seed: int | None
    """None: nothing in it is random, or it is shared by all arms."""
    folder: Path
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @cached_property
    def settings(self) -> list[RunConfig]:
        """The settings of every stage, read once.

        Raises:
            ConfigError: a stage that cannot be run.
        """
        return [stage.settings(self.seed) for stage in self.stages]


def _own_seeds(arm: Any) -> dict[str, Any]:
    """An arm's seeds, the one part of it that is no matter of a single run."""
    return {"seeds": plain(arm["seeds"])} if arm and "seeds" in arm else {}


def folder_name(arm: str, seed: int | None) -> str:
    """Names a run's folder in letters that no shell minds: ``(IA)3`` → ``IA-3``."""
    plain_name = re.sub(r"[^\w.+]+", "-", arm).strip("-")
    return plain_name if seed is None else f"{plain_name}-{seed}"


class Arm(Frozen):
    """What one arm does otherwise than the others."""

    values: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Values in place of the study's own."""
    stages: tuple[Mapping[str, JsonValue], ...] | None = None
    """Stages in place of the study's own; None: those."""
    seeded: bool = True
    """False: nothing in it is random, so that it is made once."""
    seeds: tuple[int, ...] | None = None
    """Seeds in place of the study's own, where it is not paired: those of a published list, say."""
    unequal: str | None = None
    """Why it may take other steps than the rest; said under every table."""


class Compared(Frozen):
    """A metric of which tables are made."""

    name: str
    better: Literal["lower", "higher"]
    tested: bool = True
    """False: shown alone, as a rate that is the same in every arm."""
    averaged: bool = False
    """True: what is shown and tested is the mean over all languages or directions, one number a
    run: few comparisons, so that few seeds can decide."""


class Study(RunConfig):
    """One yaml of ``training/configs/studies``; one yaml serves every size."""

    include: tuple[str, ...] = ()
    """Other yamls, relative to this one, that it goes on from: the bases that studies share."""
    name: str
    """The name of its folder and result; ``${size}`` keeps sizes apart."""
    question: str
    source: str = ""
    """Whose claim it puts to the test."""
    size: str = "nano"
    sizes: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Size → its own ``values``."""
    values: Mapping[str, Any] = Field(default_factory=dict)
    """Free names, read as ``${values.name}``; those of the size, then of the arm go first."""
    seeds: tuple[int, ...] = Field(min_length=1)
    split: Literal["dev", "test"] = "test"
    """What is compared."""
    metrics: tuple[Compared, ...] = Field(min_length=1)
    reference: str
    """The arm that every other is compared with."""
    pairs: tuple[tuple[str, str], ...] = ()
    """(arm, its reference) in place of that: for controls of their own."""
    paired: bool = True
    """Runs of one seed saw the same order of the same text, so that they are compared in pairs."""
    alpha: float = 0.05
    shared_stages: tuple[Mapping[str, Any], ...] = ()
    """Made once, before the arms, in ``${shared}``: text, vocabulary, base."""
    stages: tuple[Mapping[str, Any], ...] = ()
    """The stages of every arm that has none of its own."""
    arms: Mapping[str, Arm] = Field(min_length=1)
    remake: bool = False
    """Removes what other settings left and makes it again, instead of refusing to."""
    runs: Path = Path("runs/studies")
    results: Path = Path("benchmarks/results/studies")
    raw: Mapping[str, Any]
    """The yaml with overrides and nothing resolved; never written by hand."""

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Reads a yaml and what it includes; what differs run by run stays open.

        Raises:
            ConfigError: no such file, broken yaml, or fields that do not validate; all are listed.
        """
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        try:
            raw = merged(path, overrides)
            context = context_of(raw, {})
            head = {key: raw[key] if key in LATE else plain(context[key]) for key in raw}
            head["arms"] = {
                name: {**(arm or {}), **_own_seeds(context["arms"][name])}
                for name, arm in raw.get("arms", {}).items()
            }
            return cls.model_validate({**head, "raw": raw}).checked()
        except (YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"{path}: {error}") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe(error)}") from error

    def checked(self) -> Self:
        """Itself.

        Raises:
            ConfigError: arms that are compared and do not exist, or one seed twice.
        """
        named = {self.reference, *(arm for pair in self.pairs for arm in pair)}
        missing = sorted(named - self.arms.keys())
        if missing:
            raise ConfigError(
                f"{self.name}: no arm {', '.join(missing)}; the arms are {', '.join(self.arms)}"
            )
        for seeds in (self.seeds, *map(self.seeds_of, self.arms)):
            if len(set(seeds)) < len(seeds):
                raise ConfigError(f"{self.name}: seeds are {list(seeds)}, each may stand once")
        own = [name for name, arm in self.arms.items() if arm.seeds]
        if own and self.paired:
            raise ConfigError(
                f"{self.name}: {', '.join(own)} has seeds of its own; give the study paired=false"
            )
        return self

    @property
    def digest(self) -> str:
        """sha256 of the yaml, overrides included; not of where the study lies."""
        said = {key: self.raw[key] for key in self.raw if key not in ("remake", "runs", "results")}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return self.runs / self.name

    @property
    def result(self) -> Path:
        """The path of its JSON; the tables lie in a folder of the same name."""
        return self.results / f"{self.name}.json"

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """(arm, its reference)."""
        others = [(arm, self.reference) for arm in self.arms if arm != self.reference]
        return list(self.pairs) or others

    def shared_run(self) -> Run:
        """What is made once, before the arms.

        Raises:
            ConfigError: an interpolation that leads nowhere.
        """
        folder = self.runs / "shared" / self.size
        return self._run("shared", None, (folder, self.shared_stages))

    def arm_runs(self) -> list[Run]:
        """Every arm with every seed, seed by seed, so that a study cut short has whole pairs.

        Raises:
            ConfigError: an interpolation that leads nowhere.
        """
        once = [
            self._run(name, None, (self.folder / folder_name(name, None), self._stages(arm)))
            for name, arm in self.arms.items()
            if not arm.seeded
        ]
        rounds = zip_longest(
            *([(name, seed) for seed in self.seeds_of(name)] for name in self.arms)
        )
        return once + [
            self._run(
                name, seed, (self.folder / folder_name(name, seed), self._stages(self.arms[name]))
            )
            for each in rounds
            for name, seed in filter(None, each)
        ]

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Seeds of an arm; none where nothing in it is random."""
        arm = self.arms[name]
        return (arm.seeds or self.seeds) if arm.seeded else ()

    def _stages(self, arm: Arm) -> tuple[Mapping[str, Any], ...]:
        return self.stages if arm.stages is None else arm.stages

    def _run(
        self, arm: str, seed: int | None, place: tuple[Path, tuple[Mapping[str, Any], ...]]
    ) -> Run:
        folder, stages = place
        names = {
            "arm": arm,
            "seed": self.seeds[0] if seed is None else seed,
            "run": str(folder),
            "shared": str(self.runs / "shared" / self.size),
        }
        found = resolved_stages({**self.raw, **names, "stages": list(stages)}, arm)
        return Run(
            arm=arm,
            seed=seed,
            folder=folder,
            stages=tuple(Stage.model_validate(each) for each in found),
        )
