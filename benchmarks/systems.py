"""Who can be asked: the service over HTTP, and its engines in this process.

A further system (a peer) is one more context manager that yields something with ``ask``.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import aiohttp

from benchmarks.experiment import Trial
from benchmarks.running_service import EMPTY, running, running_service
from benchmarks.workload import Request
from langmod.errors import LangmodError
from service.engines import Engines
from service.schemas import (
    ClassifyRequest,
    EmbedRequest,
    FillMaskRequest,
    TagRequest,
)
from service.settings import Settings
from service.translator_schemas import TranslateRequest

Way = Literal["load", "engine"]
Json = dict[str, Any]
ASKED: dict[str, Callable[[Json], Any]] = {
    "fill_mask": FillMaskRequest.model_validate,
    "classify": ClassifyRequest.model_validate,
    "tag": TagRequest.model_validate,
    "embed": EmbedRequest.model_validate,
}


class System(Protocol):
    """Answers requests."""

    async def ask(self, request: Request) -> list[Json]:
        """One answer a text.

        Raises:
            LangmodError: a text that was not answered; an experiment asks for nothing that fails.
        """
        ...


class HttpSystem:
    """The service, over HTTP."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def ask(self, request: Request) -> list[Json]:
        """Posts it."""
        async with self._client.post(f"/{request.endpoint}", json=request.body) as response:
            answer = await response.json()
        faults = [each["error"] for each in answer.get("results", [answer]) if "error" in each]
        if faults:
            raise LangmodError(f"request {request.number} of {request.endpoint}: {faults[0]}")
        return list(answer["results"])


class EmptySystem:
    """The empty service, over HTTP."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def ask(self, request: Request) -> list[Json]:
        """Posts the texts; they come back."""
        body = {"texts": request.body["texts"], "language": request.group}
        async with self._client.post("/echo", json=body) as response:
            response.raise_for_status()
            return [{"text": text} for text in (await response.json())["texts"]]


class EngineSystem:
    """The engines, in this process and on its event loop."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def ask(self, request: Request) -> list[Json]:
        """Asks the engine that serves the endpoint."""
        if request.endpoint == "translate":
            wanted = TranslateRequest.model_validate(request.body)
            outcomes = await self._engines.translator.translate(wanted)
        else:
            wanted = ASKED[request.endpoint](request.body)
            outcomes = await self._engines.encoder.ask(request.endpoint, wanted)
        answers = []
        for outcome in outcomes:
            if isinstance(outcome, LangmodError):
                raise outcome
            answers.append(outcome)
        return answers


@asynccontextmanager
async def over_http(trial: Trial, models: Path) -> AsyncIterator[System]:
    """The service, started for this."""
    with running_service(service_settings(trial, models)) as address:
        async with client_of(address) as client:
            yield HttpSystem(client)


@asynccontextmanager
async def empty_over_http() -> AsyncIterator[System]:
    """The empty service, started for this."""
    with running(EMPTY, {}) as empty:
        async with client_of(empty.address) as client:
            yield EmptySystem(client)


def service_settings(trial: Trial, models: Path) -> dict[str, str]:
    """What the service is started with."""
    return {
        "LANGMOD_MODELS": str(models.resolve()),
        "LANGMOD_PRECISION": trial.precision,
        "LANGMOD_THREADS": str(trial.threads),
    }


def client_of(address: str) -> aiohttp.ClientSession:
    """Any number of connections at once, at a tenth of httpx's cost a request."""
    # Idle connections end before the server ends them (5 s): a request may meet a closed one.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    timeout = aiohttp.ClientTimeout(total=300)
    return aiohttp.ClientSession(address, connector=connector, timeout=timeout)


@asynccontextmanager
async def in_process(experiment: Trial, models: Path) -> AsyncIterator[System]:
    """The engines, opened for this."""
    with open_engines(experiment, models) as engines:
        yield EngineSystem(engines)


@contextmanager
def open_engines(trial: Trial, models: Path, **settings: int) -> Iterator[Engines]:
    """The engines of a models folder, with further settings, for as long as they are needed."""
    usual: Json = {"precision": trial.precision, "threads": trial.threads, **settings}
    engines = Engines(Settings(models=models, **usual))
    try:
        yield engines
    finally:
        engines.close()


WAYS: dict[Way, Callable[[Trial, Path], AbstractAsyncContextManager[System]]] = {
    "load": over_http,
    "engine": in_process,
}


@contextmanager
def without_modules(models: Path) -> Iterator[Path]:
    """A folder with the same bases and no module: what a bare base is served from."""
    with tempfile.TemporaryDirectory() as name:
        bare = Path(name)
        for base in models.resolve().iterdir():
            if base.is_dir():
                (bare / base.name).mkdir()
                for part in base.iterdir():
                    if part.name != "modules":
                        (bare / base.name / part.name).symlink_to(part)
        yield bare


@contextmanager
def only(models: Path, base: str) -> Iterator[Path]:
    """A folder with one of the bases, so that no other is opened."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / base).symlink_to((models / base).resolve())
        yield Path(name)
