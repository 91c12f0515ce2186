"""First requests of modules that lie on disk, and what other traffic notices of them."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from benchmarks.copies import OfCopies
from benchmarks.experiment import Answers, Column, Figures, Inputs, Times, Ways
from benchmarks.requests import Request
from benchmarks.sending import Sent, send, send_paced
from benchmarks.systems import System, over_http

RESIDENT, FIRST = "resident modules", "first requests of modules on disk"
OTHERS = "others' "


class FirstRequests(OfCopies):
    """Ask for modules that lie on disk and for resident ones in turns."""

    kind = "first-requests"
    heads = ("", "requests of")
    columns = (
        Column("p50 / p95, ms", ".1f", ("p50", "p95")),
        Column("p95, ms more", ".1f"),
        Column("others' p50 / p95, ms", ".1f", (f"{OTHERS}p50", f"{OTHERS}p95")),
        Column("others' p95, times", ".2f"),
        Column("KiB of a module"),
        Column("differ"),
    )
    caption = (
        "Over HTTP, {probes} requests in each repetition, one every {every:g} s; other requests of "
        "resident modules one every {others_every:g} s; modules made of `{module}`, not in "
        "the system's memory; {precision}; first answers `differ` from later ones."
    )

    resident: int = Field(default=8, ge=1)
    """Modules asked before the clock starts."""
    probes: int = Field(default=60, ge=1)
    """Requests of modules of either kind, in each repetition."""
    every: float = Field(default=0.05, gt=0)
    """Seconds from one of them to the next, answered or not."""
    others_every: float = Field(default=0.03, gt=0)
    """As ``every``, of the other traffic: further requests of resident modules."""

    @model_validator(mode="after")
    def _each_is_first_once(self) -> Self:
        needed = self.resident + self.probes * self.repetitions
        if self.copies < needed:
            raise ValueError(f"copies: {self.copies}; each is first once: {needed} are used")
        return self

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        runner = stack.enter_context(asyncio.Runner())
        models = stack.enter_context(self.published())
        store = models / self.base / "modules"
        drop_from_memory(store)
        system = stack.enter_context(over_http(self, models, runner))
        requests = self.copy_requests()
        resident, rest = requests[: self.resident], requests[self.resident :]
        known = list(islice(cycle(resident), self.probes))
        files = (store / f"{self.module}-0").rglob("*.*")
        size = {"KiB of a module": sum(path.stat().st_size for path in files) / 2**10}

        def ask(arm: str, number: int) -> dict[str, float]:
            new = rest[(number - 1) * self.probes :][: self.probes]
            probes = new if number and arm == FIRST else known
            return {**runner.run(self.beside_others(system, probes, resident)), **size}

        return {arm: {"": partial(ask, arm)} for arm in (RESIDENT, FIRST)}

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        """One, in which each repetition has its own modules."""
        yield "", lambda number: (number,)

    async def beside_others(
        self, system: System, probes: Sequence[Request], resident: Sequence[Request]
    ) -> dict[str, float]:
        """Figures of requests and of the traffic beside them; answers that differ later."""
        others = list(islice(cycle(resident), round(len(probes) * self.every / self.others_every)))
        first, beside = await asyncio.gather(
            send_paced(system, probes, self.every), send_paced(system, others, self.others_every)
        )
        later: Sent = await send(system, [probes], 1)
        return {
            **first.figures,
            **{f"{OTHERS}{name}": number for name, number in beside.figures.items()},
            "differ": first.different(dict(later.answers)),
        }

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        """With what first requests take and cost others, beside resident modules' requests."""
        own, known = super().figures(arm, answers, times), super().figures(RESIDENT, answers, times)
        if arm == RESIDENT:
            return own
        p95 = zip(own["p95"], known["p95"], strict=True)
        others = zip(own[f"{OTHERS}p95"], known[f"{OTHERS}p95"], strict=True)
        return {
            **own,
            "p95, ms more": tuple(round(a - b, 3) for a, b in p95),
            "others' p95, times": tuple(round(a / b, 6) for a, b in others),
        }


def drop_from_memory(folder: Path) -> None:
    """Has the system forget the content of files, so that it is read from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
