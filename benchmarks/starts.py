"""How long the service takes to start, and how much memory it takes, beside an empty one."""

import asyncio
import tempfile
from collections.abc import Sequence

from benchmarks.measure import send
from benchmarks.result import Circumstances, graph_specs
from benchmarks.running_service import EMPTY, SERVICE, Running, running
from benchmarks.serving_experiments import Starts
from benchmarks.serving_results import StartPoint, StartsResult
from benchmarks.systems import EmptySystem, HttpSystem, client_of, service_settings
from benchmarks.workload import Request, requests_of_works
from service.settings import MEBIBYTE


def measure_starts(asked: Starts) -> StartsResult:
    """A start that finds nothing kept, then both services in turns.

    Raises:
        LangmodError: a service that did not start, or a request that was not answered.
    """
    specs = graph_specs(asked.models, asked.precision)
    circumstances = Circumstances.now(specs)
    mask = next((spec.base.mask_token for spec in specs if spec.base.mask_token), "")
    requests = requests_of_works(asked.work, asked.requests, 1, mask)
    files = [
        asked.models / spec.base.name / "onnx" / asked.precision / graph.file
        for spec in specs
        for graph in spec.graphs.values()
    ]
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as cache:
        settings = {**service_settings(asked, asked.models), "LANGMOD_CACHE": cache}
        first = _start(asked, SERVICE, settings, requests)
        for _ in range(asked.repetitions):
            ours.append(_start(asked, SERVICE, settings, requests))
            empty.append(_start(asked, EMPTY, {}, requests))
    return StartsResult(
        experiment=asked,
        circumstances=circumstances,
        graphs_mib=round(sum(file.stat().st_size for file in files) / MEBIBYTE, 2),
        first=first,
        ours=tuple(ours),
        empty=tuple(empty),
    )


def _start(
    asked: Starts, target: str, settings: dict[str, str], requests: Sequence[Request]
) -> StartPoint:
    with running(target, settings) as service:
        ready = service.resident_bytes
        asyncio.run(_ask(asked, target, service, requests))
        return StartPoint(
            seconds=round(service.seconds, 3),
            ready_mib=round(ready / MEBIBYTE, 2),
            later_mib=round(service.resident_bytes / MEBIBYTE, 2),
        )


async def _ask(asked: Starts, target: str, service: Running, requests: Sequence[Request]) -> None:
    async with client_of(service.address) as client:
        system = HttpSystem(client) if target == SERVICE else EmptySystem(client)
        await send(system, [requests], asked.concurrency)
