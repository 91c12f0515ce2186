"""What experiments about serving ask, each with its aim: HTTP, modules on disk, starts, memory."""

from typing import Literal, Self

from pydantic import Field, model_validator

from benchmarks.experiment import Asking, Copies, Trial, Work

Peer = Literal["engine", "empty"]
"""The engines in the process that asks; an empty BentoML service."""


class OverHttp(Asking):
    """The service over HTTP beside a peer, each kind of work by itself."""

    beside: Peer
    aim: float
    """Least share of the peer's texts a second."""


class FirstRequests(Trial):
    """The first request of modules that lie on disk beside requests of resident ones."""

    copies: Copies
    work: Work
    """What is asked of every module."""
    resident: int = Field(default=8, ge=1)
    """Modules asked before the clock starts."""
    probes: int = Field(default=60, ge=1)
    """Requests of modules of either kind, in each repetition."""
    every: float = Field(default=0.05, gt=0)
    """Seconds from one of them to the next, answered or not."""
    others_every: float = Field(default=0.03, gt=0)
    """As ``every``, of the other traffic: further requests of resident modules."""
    repetitions: int = Field(default=5, ge=1)
    aim: float
    """Most milliseconds that the first request's p95 lies over a resident module's."""
    others_aim: float
    """Most that the other traffic's p95 may grow, as a factor."""

    @model_validator(mode="after")
    def _each_is_first_once(self) -> Self:
        needed = self.resident + self.probes * self.repetitions
        if self.copies.count < needed:
            raise ValueError(f"copies: {self.copies.count}; each is first once: {needed} are used")
        return self


class Starts(Trial):
    """Starts of the service beside starts of an empty one, and its memory."""

    work: tuple[Work, ...]
    """Asked before the memory is read a second time."""
    requests: int = Field(default=16, ge=1)
    """In each language of each work."""
    concurrency: int = Field(default=8, ge=1)
    repetitions: int = Field(default=3, ge=1)
    aim_seconds: float
    """Most from start to ready, after the first start."""
    aim_memory: float
    """Most resident memory, as a multiple of the graph files."""
