"""Many modules, more or fewer slots: what it costs that not all of them are resident."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from benchmarks.copies import OfCopies
from benchmarks.experiment import Column, Inputs, Ratio, Ways
from benchmarks.requests import Request
from benchmarks.sending import SPEED
from service.settings import MEBIBYTE

Traffic = Literal["zipf", "uniform"]
"""The k-th module is asked for k^-exponent times as often as the first; all as often."""
ENOUGH = 2**40
"""Bytes for all modules."""


class ManyModules(OfCopies):
    """Ask for many modules with more and fewer slots for them."""

    kind = "many-modules"
    heads = ("traffic", "slots")
    columns = (*SPEED, Column("in a slot", ".0%"), Column("banks, MiB"), Column("differ"))
    ratio = Ratio("÷ all in slots", "texts/s", inverse=True)
    caption = (
        "Engine in process, {precision}, {copies} modules made of `{module}`, "
        "{concurrency} requests at once; {requests} a repetition, Zipf exponent {exponent:g}; "
        "memory beside the slots {module_mib:g} MiB; answers `differ` from the same request's "
        "alone."
    )

    slots: tuple[int, ...] = (1024, 256, 128, 64, 32, 16)
    """The first is what the others are compared with."""
    module_mib: float = 512
    """Memory for modules beside the slots; the first has enough for all."""
    traffics: tuple[Traffic, ...] = ("zipf", "uniform")
    exponent: float = Field(default=1.1, gt=0)
    requests: int = Field(default=2000, ge=1)

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        runner = stack.enter_context(asyncio.Runner())
        folder = stack.enter_context(self.published())
        room = [ENOUGH, *(int(self.module_mib * MEBIBYTE) for _ in self.slots[1:])]
        return {
            str(slots): {"": self.engine(stack, runner, folder, slots=slots, module_bytes=nbytes)}
            for slots, nbytes in zip(self.slots, room, strict=True)
        }

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        """Each traffic; before the clock starts every module is asked for."""
        requests = self.copy_requests()
        for traffic in self.traffics:
            yield traffic, partial(self.drawn, requests, traffic)

    def drawn(
        self, requests: Sequence[Request], traffic: Traffic, number: int
    ) -> tuple[Sequence[Request]]:
        """As many requests as one run sends; the same modules are frequent in every run."""
        if number == 0:
            return (requests,)
        draw = np.random.default_rng((self.seed, number))
        ranks = np.arange(1, len(requests) + 1)
        weights = ranks**-self.exponent if traffic == "zipf" else np.ones(len(requests))
        order = np.random.default_rng(self.seed).permutation(len(requests))
        places = draw.choice(order, self.requests, p=weights / weights.sum())
        return ([requests[place] for place in places],)
