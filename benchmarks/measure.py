"""Runs an experiment: clients in a closed loop; concurrencies, repetitions and arms in turns."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.experiment import Arm, Experiment
from benchmarks.result import Circumstances, Point, Result, Run, graph_specs
from benchmarks.systems import WAYS, Json, System, Way, without_modules
from benchmarks.workload import Request, phases_of, requests_of

SAME = 1e-4
"""Largest difference between two scores that count as the same."""
Answers = Mapping[int, list[Json]]
"""Request number → an answer for each of its texts."""


def measure(experiment: Experiment, way: Way) -> Result:
    """Every arm at every concurrency, as many times as the experiment says.

    Raises:
        LangmodError: a request that was not answered; then nothing is measured.
    """
    specs = graph_specs(experiment.models, experiment.precision)
    circumstances = Circumstances.now(specs)
    masks = [spec.base.mask_token for spec in specs if spec.base.mask_token]
    requests = requests_of(experiment, next(iter(masks), ""))
    points, modules = asyncio.run(_measure(experiment, way, requests))
    return Result(
        way=way,
        experiment=experiment,
        circumstances=circumstances,
        modules=modules,
        points=tuple(points),
    )


async def _measure(
    experiment: Experiment, way: Way, requests: Sequence[Request]
) -> tuple[list[Point], tuple[str, ...]]:
    """The points, and the modules that served."""
    async with AsyncExitStack() as stack:
        full = await stack.enter_async_context(WAYS[way](experiment, experiment.models))
        systems: dict[Arm, System] = dict.fromkeys(experiment.arms, full)
        if "bare" in systems:
            models = stack.enter_context(without_modules(experiment.models))
            systems["bare"] = await stack.enter_async_context(WAYS[way](experiment, models))
        contest = Contest(experiment, requests, systems)
        await contest.warm_up()
        points = [await contest.points(each) for each in experiment.concurrencies]
        return [point for some in points for point in some], contest.modules


@dataclass(frozen=True)
class Sent:
    """What came back when requests were sent."""

    seconds: float
    waits: list[float]
    """Seconds from sending each request to its answer."""
    answers: list[tuple[int, list[Json]]]
    """Request numbers, each with an answer for each of its texts."""

    @property
    def run(self) -> Run:
        """Its figures."""
        texts = sum(len(answer) for _, answer in self.answers)
        p50, p95, p99 = (round(1000 * float(p), 3) for p in np.percentile(self.waits, (50, 95, 99)))
        return Run(texts_per_second=round(texts / self.seconds, 2), p50=p50, p95=p95, p99=p99)

    def different(self, expected: Answers) -> int:
        """How many requests were answered otherwise than expected."""
        return sum(not same(answer, expected[number]) for number, answer in self.answers)


async def send(system: System, phases: Sequence[Sequence[Request]], clients: int) -> Sent:
    """Sends requests phase after phase; each client sends its next when it is answered."""
    waits: list[float] = []
    answers: list[tuple[int, list[Json]]] = []

    async def client(waiting: Iterator[Request]) -> None:
        for request in waiting:
            sent = time.perf_counter()
            answers.append((request.number, await system.ask(request)))
            waits.append(time.perf_counter() - sent)

    began = time.perf_counter()
    for phase in phases:
        waiting = iter(phase)
        await asyncio.gather(*(client(waiting) for _ in range(clients)))
    return Sent(time.perf_counter() - began, waits, answers)


@dataclass
class Contest:
    """The arms of an experiment side by side."""

    experiment: Experiment
    requests: Sequence[Request]
    systems: Mapping[Arm, System]
    alone: dict[System, Answers] = field(default_factory=dict)
    """What each system answers to one request at a time: what it must answer always."""

    async def warm_up(self) -> None:
        """Loads every module, and lets every system meet the shapes to come."""
        for system in dict.fromkeys(self.systems.values()):
            self.alone[system] = dict((await send(system, [self.requests], 1)).answers)
            await send(system, [self.requests], max(self.experiment.concurrencies))

    async def points(self, concurrency: int) -> list[Point]:
        """Every arm at one concurrency; which of them begins changes with each repetition."""
        arms = self.experiment.arms
        runs: dict[Arm, list[Run]] = {arm: [] for arm in arms}
        different = dict.fromkeys(arms, 0)
        for repetition in range(self.experiment.repetitions):
            turn = repetition % len(arms)
            for arm in arms[turn:] + arms[:turn]:
                phases = phases_of(self.requests, arm, self.experiment.seed + repetition)
                sent = await send(self.systems[arm], phases, concurrency)
                runs[arm].append(sent.run)
                different[arm] += sent.different(self.alone[self.systems[arm]])
        return [
            Point(arm=arm, concurrency=concurrency, runs=tuple(runs[arm]), different=different[arm])
            for arm in arms
        ]

    @property
    def modules(self) -> tuple[str, ...]:
        """``name@digest`` of every module that served."""
        answers = [each for alone in self.alone.values() for each in alone.values()]
        return tuple(
            sorted({key for texts in answers for text in texts for key in text["modules"]})
        )


def same(one: Any, other: Any) -> bool:
    """Whether two answers are one, but for the last digits of scores."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SAME
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
