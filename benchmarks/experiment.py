"""What an experiment is: settings from a yaml, arms that are measured in turns, a table's columns.

A kind of experiment is one file of ``benchmarks/kinds`` with a subclass of ``Experiment``; naming
its ``kind`` registers it, and that name is its command and the folder of its yamls and results.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from benchmarks.turns import fastest, in_turns
from langmod.config import Frozen, RunConfig, describe, write_atomic
from langmod.digests import SHORT
from langmod.errors import ConfigError
from langmod.machine import Machine, commit, versions
from langmod.specs import GraphSpec, Precision

LIBRARIES = (
    "accelerate", "adapters", "aiohttp", "bentoml", "ctranslate2", "langmod", "numpy",
    "onnxruntime-gpu", "optimum", "optimum-onnx", "peft", "tokenizers", "torch", "transformers",
)  # fmt: skip
KINDS: dict[str, type["Experiment"]] = {}
"""Every kind of experiment, by the name of its command."""
Ways = Mapping[str, Callable[..., Any]]
"""The settings of an arm that are tried, or the empty name alone → the arm with these."""
Inputs = Callable[[int], tuple[Any, ...]]
"""What a call is given in a repetition; 0 is the one before the clock starts."""
Answers = Mapping[str, Sequence[Any]]
"""Arm → its answers, the first of which came before the clock started."""
Times = Sequence[float]
"""Milliseconds of each repetition."""
Figures = dict[str, tuple[float, ...]]


def constant(*inputs: object) -> Inputs:
    """The same in every repetition."""
    return lambda _: inputs


class Point(Frozen):
    """What was found of one arm in one setting."""

    arm: str
    setting: str
    figures: Figures
    """Name → a number for each repetition, or one for all of them."""
    how: str = ""
    """The arm's own settings that were the fastest, where several were tried."""

    def median(self, figure: str) -> float:
        """The median of a figure over the repetitions."""
        return median(self.figures[figure])


class Column(NamedTuple):
    """A column of a table: one figure with its spread, or the medians of several."""

    head: str
    form: str = ".0f"
    """How each number is formatted."""
    figures: tuple[str, ...] = ()
    """The names of the figures; none: the one that the head names."""


class Ratio(NamedTuple):
    """A figure that compares an arm with the first arm of its setting."""

    name: str
    of: str
    """The figure that is compared, repetition by repetition: those of one ran side by side."""
    inverse: bool = False
    """Whether it is the arm's over the first one's instead of the first one's over the arm's."""

    def figure(self, first: Figures, own: Figures) -> Figures:
        """The ratio in each repetition."""
        pair = (own[self.of], first[self.of]) if self.inverse else (first[self.of], own[self.of])
        return {self.name: tuple(round(a / b, 6) for a, b in zip(*pair, strict=True))}


class Aim(Frozen):
    """The number that a figure's median is to reach, in one or several settings."""

    what: str
    arm: str
    against: str | None = None
    """What the figure is compared with, where that is not the arm."""
    figure: str = ""
    """None: the ratio."""
    settings: tuple[str, ...] = ()
    """None: all of them."""
    least: float | None = None
    most: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        """The number with its sign and unit."""
        return f"{'≤' if self.least is None else '≥'} {self.least or self.most:g}{self.unit}"

    def is_of(self, point: Point) -> bool:
        """Whether a point is to reach it."""
        return self.arm == point.arm and (not self.settings or point.setting in self.settings)

    def is_met(self, measured: float) -> bool:
        """Whether a number is enough, or little enough."""
        return measured >= self.least if self.least is not None else measured <= (self.most or 0)


class Experiment(RunConfig):
    """What all experiments say, and how all are measured."""

    kind: ClassVar[str]
    heads: ClassVar[tuple[str, str]] = ("", "system")
    """What the columns of settings and arms are called."""
    columns: ClassVar[tuple[Column, ...]]
    ratio: ClassVar[Ratio | None] = None
    plotted: ClassVar[tuple[str, ...]] = ()
    """The figures that are drawn over the settings."""
    caption: ClassVar[str]
    """What the title leaves open, with settings in braces."""

    name: str
    title: str
    """The first words of the caption of its table."""
    note: str = ""
    """The last words of the caption."""
    aims: tuple[Aim, ...] = ()
    threads: int = Field(default=2, ge=1)
    """Threads of one graph run."""
    seed: int = 1
    repetitions: int = Field(default=5, ge=0)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Registers the class if it names a kind."""
        if "kind" in cls.__dict__:
            KINDS[cls.kind] = cls

    @abstractmethod
    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        """Every arm; what is to be closed in the end is put on the stack."""

    @abstractmethod
    def settings(self) -> Iterator[tuple[str, Inputs]]:
        """Every setting with what the arms are given in it."""

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        """An arm's figures, from all answers and its own times; usually answers are figures."""
        del times
        own = answers[arm][1:] or answers[arm]
        return {name: tuple(answer[name] for answer in own) for name in own[0]}

    def bases(self) -> Iterable[str]:
        """``name@digest`` of every base that is measured."""
        return ()

    def measure(self) -> tuple[Point, ...]:
        """Measures every arm in every setting, with its fastest settings."""
        points: list[Point] = []
        with ExitStack() as stack:
            opened = self.opened(stack)
            for setting, inputs in self.settings():
                calls = {
                    arm: {key: partial(_call, way, inputs) for key, way in ways.items()}
                    for arm, ways in opened.items()
                }
                best = {arm: fastest(ways) for arm, ways in calls.items()}
                chosen = {arm: calls[arm][best[arm]] for arm in opened}
                answers, times = in_turns(chosen, self.repetitions)
                figures = {arm: self.figures(arm, answers, times[arm]) for arm in opened}
                first = figures[next(iter(opened))]
                for arm, own in figures.items():
                    all_of = {**own, **(self.ratio.figure(first, own) if self.ratio else {})}
                    points.append(Point(arm=arm, setting=setting, figures=all_of, how=best[arm]))
        return tuple(points)


def _call(way: Callable[..., Any], inputs: Inputs, repetition: int) -> Any:
    return way(*inputs(repetition))


class Served(Experiment):
    """An experiment on bases of a models folder."""

    models: Path = Path("models")
    precision: Precision = "int8"

    def specs(self) -> list[GraphSpec]:
        """The graphs of every base in the models folder.

        Raises:
            ConfigError: there is none in this precision.
        """
        paths = sorted(self.models.glob(f"*/onnx/{self.precision}/graph.json"))
        if not paths:
            raise ConfigError(f"{self.models} holds no base with {self.precision} graphs")
        return [GraphSpec.load(path.parent) for path in paths]

    def bases(self) -> Iterable[str]:
        """Every base of the models folder."""
        return [f"{spec.base.name}@{spec.base.digest[:SHORT]}" for spec in self.specs()]

    def mask_token(self) -> str:
        """The mask of the encoder, empty where there is none."""
        return next((spec.base.mask_token for spec in self.specs() if spec.base.mask_token), "")


class OfBase(Served):
    """An experiment on one base of a models folder."""

    base: str
    """With its checkpoint, as other systems read that."""

    def specs(self) -> list[GraphSpec]:
        """The graphs of the base."""
        return [GraphSpec.load(self.models / self.base / "onnx" / self.precision)]


class Circumstances(Frozen):
    """When, where and of what something was measured."""

    machine: Machine
    versions: dict[str, str]
    commit: str
    bases: tuple[str, ...]
    """``name@digest`` of every base that was measured."""


class Result(Frozen):
    """An experiment with what it found: one JSON file."""

    kind: str
    experiment: SerializeAsAny[Experiment]
    circumstances: Circumstances
    points: tuple[Point, ...]

    @model_validator(mode="before")
    @classmethod
    def _read_as_its_kind(cls, values: Any) -> Any:
        if not isinstance(values.get("experiment"), dict):
            return values
        if values.get("kind") not in KINDS:
            raise ValueError(f"kind: {values.get('kind')!r} is none of {', '.join(KINDS)}")
        kind = KINDS[values["kind"]]
        return {**values, "experiment": kind.model_validate(values["experiment"])}

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Measures an experiment, and notes before what it is measured on."""
        now = Circumstances(
            machine=Machine.here(),
            versions=versions(LIBRARIES),
            commit=commit(),
            bases=tuple(experiment.bases()),
        )
        points = experiment.measure()
        return cls(kind=experiment.kind, experiment=experiment, circumstances=now, points=points)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a result.

        Raises:
            ConfigError: it is not one; measure it again.
        """
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe(error)}; remove it to measure again") from error

    def save(self, path: Path) -> None:
        """Writes the file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=2) + "\n")
