"""Modules put into memory and slots and out again, thousands of times: does memory stay flat?"""

import asyncio
import gc
import os
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from benchmarks.copies import published
from benchmarks.experiment import Churn
from benchmarks.measure import send
from benchmarks.result import ChurnPoint, ChurnResult, Circumstances, graph_spec, graph_specs
from benchmarks.systems import EngineSystem, open_engines
from benchmarks.workload import Request, requests_of_copies
from service.engines import Engines
from service.settings import MEBIBYTE


def measure_churn(asked: Churn) -> ChurnResult:
    """One module after the other; the memory of this process after every so many.

    Raises:
        ConfigError: no such base or module.
    """
    circumstances = Circumstances.now(graph_specs(asked.models, asked.precision))
    spec = graph_spec(asked.models, asked.copies.base, asked.precision)
    requests = requests_of_copies(asked.copies, asked.work, spec.base.mask_token or "")
    settings = {name: getattr(asked, name) for name in ("slots", "module_bytes", "bank_bytes")}
    with (
        published(asked.models, spec, asked.copies, asked.seed) as folder,
        open_engines(asked, folder, **settings) as engines,
    ):
        points = asyncio.run(_points(asked, engines, requests))
    return ChurnResult(experiment=asked, circumstances=circumstances, points=tuple(points))


async def _points(asked: Churn, engines: Engines, requests: Sequence[Request]) -> list[ChurnPoint]:
    """The copies in turn, so that each is long gone when its turn comes again."""
    points: list[ChurnPoint] = []
    turns: Iterator[Request] = cycle(requests)
    slots = engines.encoder.bank.roles["language"]
    for begun in range(0, asked.cycles, asked.every):
        some = list(islice(turns, min(asked.every, asked.cycles - begun)))
        run = (await send(EngineSystem(engines), [some], asked.concurrency)).run
        points.append(
            ChurnPoint(
                cycles=begun + len(some),
                resident_mib=round(_resident_bytes() / MEBIBYTE, 2),
                banks_mib=round(slots.nbytes / MEBIBYTE, 2),
                evictions=slots.events["eviction"],
                run=run,
            )
        )
    return points


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
