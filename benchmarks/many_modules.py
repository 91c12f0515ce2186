"""Many modules, more or fewer slots: what it costs that not all of them are resident."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.copies import published
from benchmarks.experiment import ManyModules, Traffic
from benchmarks.measure import Answers, same, send
from benchmarks.result import (
    Circumstances,
    ManyModulesResult,
    Run,
    SlotsPoint,
    graph_spec,
    graph_specs,
)
from benchmarks.systems import EngineSystem, open_engines
from benchmarks.workload import Request, drawn, requests_of_copies
from langmod.errors import ConfigError
from service.engines import Engines
from service.settings import MEBIBYTE
from service.slots import RoleSlots

ENOUGH = 2**40
"""Bytes for all modules."""


def measure_many_modules(asked: ManyModules) -> ManyModulesResult:
    """Every traffic with every number of slots, as many times as the experiment says.

    Raises:
        ConfigError: no such base or module, or copies that answer alike.
    """
    circumstances = Circumstances.now(graph_specs(asked.models, asked.precision))
    spec = graph_spec(asked.models, asked.copies.base, asked.precision)
    requests = requests_of_copies(asked.copies, asked.work, spec.base.mask_token or "")
    with ExitStack() as stack:
        folder = stack.enter_context(published(asked.models, spec, asked.copies, asked.seed))
        systems = [
            Slots(slots, stack.enter_context(open_engines(asked, folder, slots=slots, **memory)))
            for slots, memory in _memories(asked)
        ]
        points = asyncio.run(_points(asked, systems, requests))
    return ManyModulesResult(experiment=asked, circumstances=circumstances, points=tuple(points))


def _memories(asked: ManyModules) -> Iterator[tuple[int, dict[str, int]]]:
    first, *others = asked.slots
    yield first, {"module_bytes": ENOUGH}
    for slots in others:
        yield slots, {"module_bytes": asked.module_bytes}


@dataclass(eq=False)
class Slots:
    """Engines with some number of slots, and what came of each traffic."""

    count: int
    engines: Engines
    runs: dict[Traffic, list[Run]] = field(default_factory=dict)
    events: dict[Traffic, Counter[str]] = field(default_factory=dict)
    different: Counter[Traffic] = field(default_factory=Counter)

    @property
    def language(self) -> RoleSlots:
        """The slots of the encoder's language modules."""
        return self.engines.encoder.bank.roles["language"]

    async def run(
        self, asked: ManyModules, traffic: Traffic, requests: Sequence[Request], expected: Answers
    ) -> None:
        """Sends requests and keeps the figures."""
        before = Counter(self.language.events)
        sent = await send(EngineSystem(self.engines), [requests], asked.concurrency)
        self.runs.setdefault(traffic, []).append(sent.run)
        self.events.setdefault(traffic, Counter()).update(Counter(self.language.events) - before)
        self.different[traffic] += sent.different(expected)

    def point(self, traffic: Traffic) -> SlotsPoint:
        """All runs of a traffic."""
        events = self.events[traffic]
        return SlotsPoint(
            slots=self.count,
            traffic=traffic,
            runs=tuple(self.runs[traffic]),
            different=self.different[traffic],
            hits=round(events["hit"] / (events["hit"] + events["load"]), 4),
            banks_mib=round(self.language.nbytes / MEBIBYTE, 2),
        )


async def _points(
    asked: ManyModules, systems: Sequence[Slots], requests: Sequence[Request]
) -> list[SlotsPoint]:
    """Which number of slots begins changes with each repetition."""
    expected = dict((await send(EngineSystem(systems[0].engines), [requests], 1)).answers)
    _check_unlike(requests, expected)
    for system in systems:
        await send(EngineSystem(system.engines), [requests], asked.concurrency)
    for repetition in range(asked.repetitions):
        turn = repetition % len(systems)
        for traffic in asked.traffics:
            chosen = drawn(requests, asked, traffic, repetition)
            for system in [*systems[turn:], *systems[:turn]]:
                await system.run(asked, traffic, chosen, expected)
    return [system.point(traffic) for system in systems for traffic in asked.traffics]


def _check_unlike(requests: Sequence[Request], answers: Answers) -> None:
    """A wrong module is noticed only where it answers otherwise."""
    last: dict[str, list[dict[str, object]]] = {}
    for request in requests:
        text = str(request.body["texts"])
        mine = [{**each, "modules": ()} for each in answers[request.number]]
        if same(mine, last.get(text)):
            raise ConfigError(f"copy {request.number} answers as another does: more noise")
        last[text] = mine
