"""What an experiment found, and all that is needed to judge or repeat it: one JSON file."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Literal, Self

from pydantic import ValidationError

from benchmarks.experiment import (
    Arm,
    Churn,
    Experiment,
    ManyModules,
    Traffic,
    Trial,
)
from benchmarks.systems import Way
from langmod.config import Frozen, describe, write_atomic
from langmod.digests import SHORT
from langmod.errors import ConfigError
from langmod.machine import Machine, commit, versions
from langmod.specs import GraphSpec, Precision

LIBRARIES = ("langmod", "aiohttp", "bentoml", "numpy", "onnxruntime-gpu", "tokenizers")
Figure = Literal["texts_per_second", "p50", "p95", "p99"]


class Run(Frozen):
    """One repetition."""

    texts_per_second: float
    p50: float
    """Milliseconds from sending a request to its answer; as p95 and p99."""
    p95: float
    p99: float


class Runs(Frozen):
    """The repetitions of one thing."""

    runs: tuple[Run, ...]
    different: int
    """Requests, of all repetitions, that were answered otherwise than each is alone."""

    def median(self, figure: Figure) -> float:
        """Of the repetitions."""
        return median(getattr(run, figure) for run in self.runs)

    def spread(self, figure: Figure) -> tuple[float, float]:
        """Lowest and highest of the repetitions."""
        values = [getattr(run, figure) for run in self.runs]
        return min(values), max(values)


class Point(Runs):
    """One arm at one concurrency."""

    arm: Arm
    concurrency: int


class SlotsPoint(Runs):
    """One traffic with some number of slots."""

    slots: int
    traffic: Traffic
    hits: float
    """Share of the uses of modules that found theirs in a slot."""
    banks_mib: float
    """Of the language banks in the end, padding included."""


class ChurnPoint(Frozen):
    """What was read after some cycles."""

    cycles: int
    resident_mib: float
    """Of this process."""
    banks_mib: float
    evictions: int
    """From slots, since the beginning."""
    run: Run
    """Of the cycles since the last reading."""


class Circumstances(Frozen):
    """When, where and of what something was measured."""

    machine: Machine
    versions: dict[str, str]
    commit: str
    bases: tuple[str, ...]
    """``name@digest`` of every base in the models folder."""

    @classmethod
    def now(cls, specs: Iterable[GraphSpec]) -> Self:
        """These, before the measuring begins."""
        return cls(
            machine=Machine.here(),
            versions=versions(LIBRARIES),
            commit=commit(),
            bases=base_keys(specs),
        )


class Measured(Frozen):
    """What every result holds beside its points."""

    experiment: Trial
    circumstances: Circumstances

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a result.

        Raises:
            ConfigError: it is not one; measure it again.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe(error)}; remove it to measure again") from error

    def save(self, path: Path) -> None:
        """Writes it in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=2) + "\n")


class Result(Measured):
    """An experiment with its points and their circumstances."""

    way: Way
    experiment: Experiment
    modules: tuple[str, ...]
    """``name@digest`` of every module that served a request."""
    points: tuple[Point, ...]

    def point(self, arm: Arm, concurrency: int) -> Point | None:
        """The point of an arm, None where it was not measured."""
        asked = (arm, concurrency)
        return next((p for p in self.points if (p.arm, p.concurrency) == asked), None)


class ManyModulesResult(Measured):
    """Many modules with more and fewer slots."""

    experiment: ManyModules
    points: tuple[SlotsPoint, ...]

    def of_slots(self, slots: int) -> list[SlotsPoint]:
        """Every traffic's point, in their order."""
        return [point for point in self.points if point.slots == slots]

    def share(self, slots: int, traffic: Traffic) -> float:
        """Of the texts a second with the first number of slots."""
        own, first = (
            next(point for point in self.of_slots(count) if point.traffic == traffic)
            for count in (slots, self.experiment.slots[0])
        )
        return own.median("texts_per_second") / first.median("texts_per_second")


class ChurnResult(Measured):
    """The memory of this process, again and again."""

    experiment: Churn
    points: tuple[ChurnPoint, ...]

    @property
    def growth(self) -> float:
        """MiB from the first reading, when all is warm, to the last."""
        return self.points[-1].resident_mib - self.points[0].resident_mib


def graph_specs(models: Path, precision: Precision) -> list[GraphSpec]:
    """Of every base in a models folder.

    Raises:
        ConfigError: there is none in this precision.
    """
    found = [
        GraphSpec.load(path.parent)
        for path in sorted(models.glob(f"*/onnx/{precision}/graph.json"))
    ]
    if not found:
        raise ConfigError(f"{models} holds no base with {precision} graphs")
    return found


def graph_spec(models: Path, base: str, precision: Precision) -> GraphSpec:
    """Of one base.

    Raises:
        ConfigError: it is not there in this precision.
    """
    return GraphSpec.load(models / base / "onnx" / precision)


def base_keys(specs: Iterable[GraphSpec]) -> tuple[str, ...]:
    """``name@digest`` of bases."""
    return tuple(f"{spec.base.name}@{spec.base.digest[:SHORT]}" for spec in specs)
