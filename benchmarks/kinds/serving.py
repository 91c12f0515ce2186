"""Requests at several concurrencies: over HTTP or in process; languages mixed, apart or bare."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from benchmarks.experiment import Column, Inputs, Ratio, Served, Ways
from benchmarks.requests import Request, Work, by_group, requests_of, shuffled
from benchmarks.running_service import EMPTY
from benchmarks.sending import SPEED, Asker
from benchmarks.systems import in_process, over_http, part_of

ArmName = Literal[
    "http", "http-by-language", "http-bare", "engine", "engine-by-language", "engine-bare", "empty"
]


class Arm(NamedTuple):
    """Who is asked, and how."""

    label: str
    system: Callable[..., Any]
    modules: bool = True
    by_language: bool = False
    """One language after the other instead of all at once."""


ARMS: dict[ArmName, Arm] = {
    "http": Arm("over HTTP", over_http),
    "http-by-language": Arm("over HTTP, one language at a time", over_http, by_language=True),
    "http-bare": Arm("over HTTP, bare base", over_http, modules=False),
    "engine": Arm("engine in process", in_process),
    "engine-by-language": Arm("engine, one language at a time", in_process, by_language=True),
    "engine-bare": Arm("engine, bare base", in_process, modules=False),
    "empty": Arm("empty service", partial(over_http, target=EMPTY)),
}


class Serving(Served):
    """Ask the service over HTTP, its engines in this process, or an empty service, in turns."""

    kind = "serving"
    heads = ("at once", "system")
    columns = (*SPEED, Column("modules"), Column("differ"))
    ratio = Ratio("first ÷ it", "texts/s")
    caption = (
        "{precision}, texts a request: {texts}; answers `differ` from the same request's alone."
    )

    work: tuple[Work, ...]
    apart: bool = False
    """Each work by itself instead of all at once."""
    arms: tuple[ArmName, ...]
    requests: int = Field(default=48, ge=1)
    """In each language of each work."""
    texts: int = Field(default=1, ge=1)
    """In each request."""
    concurrencies: tuple[int, ...] = (1, 8, 32)
    """Requests under way at once; the next goes out when one is answered."""

    @model_validator(mode="after")
    def _bare_can_answer(self) -> Self:
        tasks = {work.endpoint for work in self.work} & {"classify", "tag"}
        if bare := [arm for arm in self.arms if tasks and not ARMS[arm].modules]:
            tasks_named, arms = ", ".join(sorted(tasks)), ", ".join(bare)
            raise ValueError(f"a bare base has no head for {tasks_named}: drop {arms}")
        return self

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        runner = stack.enter_context(asyncio.Runner())
        bare = stack.enter_context(part_of(self.models, modules=False))
        askers: dict[tuple[object, bool], Asker] = {}
        ways: dict[str, Ways] = {}
        for label, system, modules, by_language in (ARMS[name] for name in self.arms):
            if (system, modules) not in askers:
                opened = system(self, self.models if modules else bare, runner)
                askers[system, modules] = Asker(stack.enter_context(opened), runner)
            ways[label] = {"": partial(_ask, askers[system, modules], by_language)}
        return ways

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        """All work together, or each by itself, at every concurrency."""
        requests = requests_of(self.work, self.requests, self.texts, self.mask_token())
        works = [[work] for work in self.work] if self.apart else [self.work]
        for some in works:
            endpoints = {work.endpoint for work in some}
            own = [request for request in requests if request.endpoint in endpoints]
            for clients in self.concurrencies:
                name = f"`{some[0].endpoint}`, {clients}" if self.apart else str(clients)
                yield name, partial(self._shuffled, own, clients)

    def _shuffled(
        self, requests: Sequence[Request], clients: int, number: int
    ) -> tuple[list[Request], int]:
        return shuffled(requests, self.seed + number), clients


def _ask(
    asker: Asker, by_language: bool, requests: list[Request], clients: int
) -> dict[str, float]:
    return asker(by_group(requests) if by_language else [requests], clients)
