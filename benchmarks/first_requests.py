"""First requests of modules that lie on disk, and what other traffic notices of them."""

import asyncio
import os
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from benchmarks.copies import published
from benchmarks.measure import Sent, send
from benchmarks.result import Circumstances, graph_spec, graph_specs
from benchmarks.serving_experiments import FirstRequests
from benchmarks.serving_results import FirstPoint, FirstRequestsResult
from benchmarks.systems import Json, System, over_http
from benchmarks.workload import Request, requests_of_copies


def measure_first_requests(asked: FirstRequests) -> FirstRequestsResult:
    """Repetition after repetition: requests of resident modules, then of modules never asked yet.

    Raises:
        LangmodError: a request that was not answered; then nothing is measured.
    """
    circumstances = Circumstances.now(graph_specs(asked.models, asked.precision))
    spec = graph_spec(asked.models, asked.copies.base, asked.precision)
    requests = requests_of_copies(asked.copies, asked.work, spec.base.mask_token or "")
    with published(asked.models, spec, asked.copies, asked.seed) as models:
        store = models / asked.copies.base / "modules"
        nbytes = sum(path.stat().st_size for path in (store / asked.copies.name(0)).rglob("*.*"))
        drop_from_memory(store)
        points, different = asyncio.run(_measure(asked, models, requests))
    return FirstRequestsResult(
        experiment=asked,
        circumstances=circumstances,
        module_bytes=nbytes,
        different=different,
        points=tuple(points),
    )


def drop_from_memory(folder: Path) -> None:
    """Has the system forget the content of files, so that it is read from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


async def _measure(
    asked: FirstRequests, models: Path, requests: Sequence[Request]
) -> tuple[list[FirstPoint], int]:
    resident, rest = requests[: asked.resident], requests[asked.resident :]
    async with over_http(asked, models) as system:
        for _ in range(3):
            await send(system, [resident], asked.resident)
        points, firsts = [], []
        for repetition in range(asked.repetitions):
            new = rest[repetition * asked.probes :][: asked.probes]
            known = list(islice(cycle(resident), asked.probes))
            before, others_before = await _beside_others(asked, system, known, resident)
            first, others = await _beside_others(asked, system, new, resident)
            firsts.append(first)
            points.append(
                FirstPoint(
                    resident=before.run,
                    first=first.run,
                    others_beside_resident=others_before.run,
                    others_beside_first=others.run,
                )
            )
        used = rest[: asked.probes * asked.repetitions]
        again = dict((await send(system, [used], 1)).answers)
    return points, sum(first.different(again) for first in firsts)


async def _beside_others(
    asked: FirstRequests, system: System, probes: Sequence[Request], resident: Sequence[Request]
) -> tuple[Sent, Sent]:
    count = round(len(probes) * asked.every / asked.others_every)
    others = list(islice(cycle(resident), count))
    one, other = await asyncio.gather(
        send_paced(system, probes, asked.every), send_paced(system, others, asked.others_every)
    )
    return one, other


async def send_paced(system: System, requests: Sequence[Request], every: float) -> Sent:
    """Sends a request every so many seconds, whether those before are answered or not."""
    began = time.perf_counter()

    async def one(number: int, request: Request) -> tuple[float, tuple[int, list[Json]]]:
        await asyncio.sleep(began + number * every - time.perf_counter())
        sent = time.perf_counter()
        answer = await system.ask(request)
        return time.perf_counter() - sent, (request.number, answer)

    found = await asyncio.gather(*(one(*each) for each in enumerate(requests)))
    waits, answers = zip(*found, strict=True)
    return Sent(time.perf_counter() - began, list(waits), list(answers))
