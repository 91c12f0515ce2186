"""Requests sent by clients in a closed loop, or at a steady pace, and what came back."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.experiment import Column
from benchmarks.requests import Request
from benchmarks.systems import Json, System

SAME = 1e-4
"""Largest difference between two scores that count as the same."""
WAITS = ("p50", "p95", "p99")
SPEED = (Column("texts/s"), Column("p50 / p95 / p99, ms", ".0f", WAITS))
"""Columns of what is sent."""
Answers = Mapping[int, list[Json]]
"""Request number → an answer for each of its texts."""


@dataclass(frozen=True)
class Sent:
    """What came back when requests were sent."""

    seconds: float
    waits: list[float]
    """Seconds from sending each request to its answer."""
    answers: list[tuple[int, list[Json]]]
    """Request numbers, each with an answer for each of its texts."""

    @property
    def figures(self) -> dict[str, float]:
        """Texts a second, and percentiles of the waits in milliseconds."""
        texts = sum(len(answer) for _, answer in self.answers)
        waits = np.percentile(self.waits, [int(name[1:]) for name in WAITS])
        figures = {name: round(1e3 * float(p), 3) for name, p in zip(WAITS, waits, strict=True)}
        return {"texts/s": round(texts / self.seconds, 2), **figures}

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


class Asker:
    """A system, held against what it answers to each request alone."""

    def __init__(self, system: System, runner: asyncio.Runner) -> None:
        self._system, self._runner = system, runner
        self._alone: dict[int, list[Json]] = {}

    def __call__(self, phases: Sequence[Sequence[Request]], clients: int) -> dict[str, float]:
        """Sends requests; their figures, answers that differ, and modules that served."""
        new = {each.number: each for phase in phases for each in phase}
        unknown = [each for number, each in new.items() if number not in self._alone]
        if unknown:
            self._alone |= dict(self._runner.run(send(self._system, [unknown], 1)).answers)
        sent = self._runner.run(send(self._system, phases, clients))
        texts = [text for _, answers in sent.answers for text in answers]
        modules = {key for text in texts for key in text.get("modules", ())}
        return {**sent.figures, "modules": len(modules), "differ": sent.different(self._alone)}


async def send_paced(system: System, requests: Sequence[Request], every: float) -> Sent:
    """Sends a request every so many seconds, whether those before are answered or not."""
    began = time.perf_counter()

    async def one(place: int, request: Request) -> tuple[float, tuple[int, list[Json]]]:
        await asyncio.sleep(began + place * every - time.perf_counter())
        sent = time.perf_counter()
        answer = await system.ask(request)
        return time.perf_counter() - sent, (request.number, answer)

    found = await asyncio.gather(*(one(*each) for each in enumerate(requests)))
    waits, answers = zip(*found, strict=True)
    return Sent(time.perf_counter() - began, list(waits), list(answers))


def same(one: Any, other: Any) -> bool:
    """Whether two answers are one, but for the last digits of scores."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SAME
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
