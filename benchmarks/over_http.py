"""The service over HTTP beside its engines in this process, or beside an empty service."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from benchmarks.measure import send
from benchmarks.result import Circumstances, Run, graph_specs
from benchmarks.serving_experiments import OverHttp
from benchmarks.serving_results import HttpPoint, OverHttpResult
from benchmarks.systems import System, empty_over_http, in_process, over_http
from benchmarks.workload import Request, phases_of, requests_of


def measure_over_http(asked: OverHttp) -> OverHttpResult:
    """Every kind of work at every concurrency, as many times as the experiment says.

    Raises:
        LangmodError: a request that was not answered; then nothing is measured.
    """
    specs = graph_specs(asked.models, asked.precision)
    circumstances = Circumstances.now(specs)
    mask = next((spec.base.mask_token for spec in specs if spec.base.mask_token), "")
    works = [requests_of(asked.model_copy(update={"work": (each,)}), mask) for each in asked.work]
    points = asyncio.run(_measure(asked, works))
    return OverHttpResult(experiment=asked, circumstances=circumstances, points=tuple(points))


async def _measure(asked: OverHttp, works: Sequence[Sequence[Request]]) -> list[HttpPoint]:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(over_http(asked, asked.models))
        peer = await stack.enter_async_context(_peer(asked))
        return [
            await _point(asked, requests, concurrency, service, peer)
            for requests in works
            for concurrency in asked.concurrencies
        ]


def _peer(asked: OverHttp) -> AbstractAsyncContextManager[System]:
    return in_process(asked, asked.models) if asked.beside == "engine" else empty_over_http()


async def _point(
    asked: OverHttp, requests: Sequence[Request], concurrency: int, service: System, peer: System
) -> HttpPoint:
    """Which of both begins changes with each repetition."""
    expected = {system: dict((await send(system, [requests], 1)).answers)
                for system in (service, peer)}  # fmt: skip
    runs: dict[System, list[Run]] = {service: [], peer: []}
    different = 0
    for repetition in range(asked.repetitions + 1):
        phases = phases_of(requests, "mixed", asked.seed + repetition)
        order = (service, peer) if repetition % 2 else (peer, service)
        for system in order:
            sent = await send(system, phases, concurrency)
            different += sent.different(expected[system])
            runs[system].append(sent.run)
    return HttpPoint(
        endpoint=requests[0].endpoint,
        concurrency=concurrency,
        # The first of each warms up.
        ours=tuple(runs[service][1:]),
        peer=tuple(runs[peer][1:]),
        different=different,
    )
