"""What a study found: one JSON, every number with its signature and what it was measured on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError

from langmod.config import Frozen, describe, write_atomic
from langmod.errors import ConfigError
from langmod.machine import Machine
from langmod.specs import Metric
from training.studies.definition import Compared

LIBRARIES = (
    "accelerate",
    "langmod",
    "numpy",
    "peft",
    "sacrebleu",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)


class RunResult(Frozen):
    """One arm with one seed."""

    arm: str
    seed: int | None
    """None: nothing in it is random; its scores stand for every seed."""
    seconds: float
    steps: int
    examples: int
    """Blocks or pairs that the steps read."""
    parameters: int | None = None
    """Trained numbers, where a stage says them."""
    metrics: tuple[Metric, ...]

    def value(self, metric: str, language: str) -> float | None:
        """One of its scores; those of no language have the empty one."""
        found = (m.value for m in self.metrics if (m.name, m.language or "") == (metric, language))
        return next(found, None)


class Failure(Frozen):
    """A run that did not come to its end."""

    run: str
    problem: str


class StudyResult(Frozen):
    """``benchmarks/results/studies/<study>.json``."""

    name: str
    question: str
    source: str
    size: str
    yaml_digest: str
    split: Literal["dev", "test"]
    metrics: tuple[Compared, ...]
    comparisons: tuple[tuple[str, str], ...]
    """(arm, its reference)."""
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    paired: bool
    alpha: float
    unequal: Mapping[str, str]
    """Arm → why it took other steps than the rest."""
    folder: Path
    """Where the runs lie, if they still do: translations are compared sentence by sentence."""
    machine: Machine
    accelerator: str | None
    versions: Mapping[str, str]
    commit: str
    data: Mapping[str, str]
    """Corpus → digest."""
    runs: tuple[RunResult, ...]
    failed: tuple[Failure, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a result.

        Raises:
            ConfigError: no such file, or not a result.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"no result {path}: run `langmod study` first") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe(error)}") from error

    def save(self, path: Path) -> None:
        """Writes it in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=1) + "\n")

    def __str__(self) -> str:
        made = f"{self.name}: {len(self.runs)} runs made, {len(self.failed)} failed"
        return "\n".join([made, *(f"  {each.run}: {each.problem}" for each in self.failed)])

    def languages(self, metric: str) -> list[str]:
        """Languages or directions in which some arm has this metric, sorted."""
        found = {m.language or "" for run in self.runs for m in run.metrics if m.name == metric}
        return sorted(found)

    def values(self, arm: str, metric: str, language: str) -> dict[int, float]:
        """Seed → score; an arm without chance has its one score at every seed."""
        found: dict[int, float] = {}
        for run in self.runs:
            value = run.value(metric, language) if run.arm == arm else None
            if value is not None:
                found |= dict.fromkeys(self.seeds if run.seed is None else [run.seed], value)
        return found

    def signatures(self, metric: str) -> list[str]:
        """Every signature of a metric, once."""
        return sorted({m.signature for run in self.runs for m in run.metrics if m.name == metric})
