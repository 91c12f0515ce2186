"""Modules put into memory and slots and out again, thousands of times: does memory stay flat?"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import cycle, islice

from pydantic import Field

from benchmarks.copies import OfCopies
from benchmarks.experiment import Column, Inputs, Ways, constant
from benchmarks.sending import SPEED
from service.settings import MEBIBYTE


class Churn(OfCopies):
    """Put modules in and out again and look at the memory of this process."""

    kind = "churn"
    heads = ("cycles", "")
    plotted = ("resident, MiB", "banks, MiB")
    columns = (*(Column(name, ".1f") for name in plotted), Column("evictions"), *SPEED)
    caption = (
        "{copies} modules in turn through {slots} slots and {module_mib:g} MiB of memory, "
        "read from the disk each time, banks of at most {bank_mib:g} MiB, {concurrency} requests "
        "at once; {precision}."
    )

    slots: int = Field(default=16, ge=1)
    module_mib: float = 4
    """So little that a module is read from the disk each time."""
    bank_mib: float = 4
    """So little that a wide module takes the place of several others."""
    cycles: int = Field(default=10_000, ge=1)
    every: int = Field(default=1000, ge=1)
    """Cycles from one reading of the memory to the next."""
    concurrency: int = Field(default=8, ge=1)
    repetitions: int = Field(default=0, le=0)
    """Memory is read once after so many cycles."""

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        runner = stack.enter_context(asyncio.Runner())
        folder = stack.enter_context(self.published())
        room = {"module_bytes": self.module_mib, "bank_bytes": self.bank_mib}
        settings = {name: int(mib * MEBIBYTE) for name, mib in room.items()}
        return {"": {"": self.engine(stack, runner, folder, slots=self.slots, **settings)}}

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        """The copies in turn, so that each is long gone when its turn comes again."""
        requests = cycle(self.copy_requests())
        for begun in range(0, self.cycles, self.every):
            some = list(islice(requests, min(self.every, self.cycles - begun)))
            yield str(begun + len(some)), constant(some)
