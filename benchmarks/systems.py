"""Who can be asked: the service over HTTP, its engines in this process, an empty service."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.experiment import Served
from benchmarks.requests import Request
from benchmarks.running_service import EMPTY, SERVICE, running
from langmod.errors import LangmodError
from service.engines import Engines
from service.schemas import ClassifyRequest, EmbedRequest, FillMaskRequest, TagRequest
from service.settings import Settings
from service.translator_schemas import TranslateRequest

Json = dict[str, Any]
ENCODER_SCHEMAS: dict[str, Any] = {
    "fill_mask": FillMaskRequest,
    "classify": ClassifyRequest,
    "tag": TagRequest,
    "embed": EmbedRequest,
}


class HttpSystem:
    """A service, over HTTP."""

    def __init__(self, client: aiohttp.ClientSession, empty: bool) -> None:
        self._client, self._empty = client, empty

    async def ask(self, request: Request) -> list[Json]:
        """Posts the request, or to an empty service the texts, which come back as they are.

        Raises:
            LangmodError: a text that was not answered; an experiment asks for nothing that fails.
        """
        path, body = f"/{request.endpoint}", request.body
        if self._empty:
            path, body = "/echo", {"texts": body["texts"], "language": request.group}
        async with self._client.post(path, json=body) as response:
            answer = await response.json()
        faults = [each["error"] for each in answer.get("results", [answer]) if "error" in each]
        if faults:
            raise LangmodError(f"request {request.number} of {request.endpoint}: {faults[0]}")
        return list(answer["results"])


class EngineSystem:
    """The engines, in this process and on its event loop."""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines

    async def ask(self, request: Request) -> list[Json]:
        """Asks the engine that serves the endpoint; raises what the other does."""
        if request.endpoint == "translate":
            wanted = TranslateRequest.model_validate(request.body)
            outcomes = await self.engines.translator.translate(wanted)
        else:
            wanted = ENCODER_SCHEMAS[request.endpoint].model_validate(request.body)
            outcomes = await self.engines.encoder.ask(request.endpoint, wanted)
        if faults := [each for each in outcomes if isinstance(each, LangmodError)]:
            raise faults[0]
        return [each for each in outcomes if isinstance(each, dict)]


System = HttpSystem | EngineSystem


@contextmanager
def client_of(address: str, runner: asyncio.Runner, empty: bool = False) -> Iterator[HttpSystem]:
    """A service that runs, with any number of connections at once."""

    async def opened() -> aiohttp.ClientSession:
        # Idle connections end before the server ends them (5 s): a request may meet a closed one.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        timeout = aiohttp.ClientTimeout(total=300)
        return aiohttp.ClientSession(address, connector=connector, timeout=timeout)

    client = runner.run(opened())
    try:
        yield HttpSystem(client, empty)
    finally:
        runner.run(client.close())


@contextmanager
def over_http(
    trial: Served, models: Path, runner: asyncio.Runner, target: str = SERVICE
) -> Iterator[HttpSystem]:
    """The service or the empty one, started for this."""
    with (
        running(target, service_settings(trial, models)) as service,
        client_of(service.address, runner, empty=target == EMPTY) as system,
    ):
        yield system


@contextmanager
def in_process(
    trial: Served, models: Path, *_: asyncio.Runner, **settings: int
) -> Iterator[EngineSystem]:
    """The engines, opened for this, with further settings."""
    usual: Json = {"precision": trial.precision, "threads": trial.threads, **settings}
    engines = Engines(Settings(models=models, **usual))
    try:
        yield EngineSystem(engines)
    finally:
        engines.close()


def service_settings(trial: Served, models: Path) -> dict[str, str]:
    """What the service is started with."""
    return {
        "LANGMOD_MODELS": str(models.resolve()),
        "LANGMOD_PRECISION": trial.precision,
        "LANGMOD_THREADS": str(trial.threads),
    }


def gathered(
    runner: asyncio.Runner, systems: Sequence[System], requests: Sequence[Request]
) -> list[list[Json]]:
    """The answers of several requests that are asked at once, of systems in turn."""

    async def ask() -> list[list[Json]]:
        pairs = zip(cycle(systems), requests, strict=False)
        return await asyncio.gather(*(system.ask(request) for system, request in pairs))

    return runner.run(ask())


@contextmanager
def part_of(models: Path, base: str = "*", modules: bool = True) -> Iterator[Path]:
    """A folder with the same bases or one of them; without modules, a bare base is served."""
    with tempfile.TemporaryDirectory() as name:
        for part in models.resolve().glob(f"{base}/*"):
            if modules or part.name != "modules":
                place = Path(name) / part.parent.name
                place.mkdir(exist_ok=True)
                (place / part.name).symlink_to(part)
        yield Path(name)
