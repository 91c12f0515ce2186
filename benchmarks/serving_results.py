"""What was found about serving: HTTP, modules on disk, starting, memory."""

from statistics import median

from benchmarks.experiment import Endpoint
from benchmarks.result import Figure, Measured, Run
from benchmarks.serving_experiments import FirstRequests, OverHttp, Starts
from langmod.config import Frozen


class HttpPoint(Frozen):
    """One kind of work at one concurrency: run by run beside the peer."""

    endpoint: Endpoint
    concurrency: int
    ours: tuple[Run, ...]
    peer: tuple[Run, ...]
    different: int
    """Requests that were answered otherwise than each is alone."""

    @property
    def share(self) -> float:
        """Of the peer's texts a second: median over the repetitions."""
        pairs = zip(self.ours, self.peer, strict=True)
        return median(own.texts_per_second / its.texts_per_second for own, its in pairs)


class OverHttpResult(Measured):
    """The service over HTTP beside a peer."""

    experiment: OverHttp
    points: tuple[HttpPoint, ...]


class FirstPoint(Frozen):
    """One repetition: requests of resident modules, then first requests, other traffic beside."""

    resident: Run
    first: Run
    others_beside_resident: Run
    others_beside_first: Run


class FirstRequestsResult(Measured):
    """Modules that lie on disk."""

    experiment: FirstRequests
    module_bytes: int
    """Of one module's files."""
    different: int
    """First requests that were answered otherwise than the same request later."""
    points: tuple[FirstPoint, ...]

    def later(self, figure: Figure) -> list[float]:
        """Milliseconds that first requests take beyond those of resident modules."""
        return [getattr(p.first, figure) - getattr(p.resident, figure) for p in self.points]

    def others(self, figure: Figure) -> list[float]:
        """How many times as long other requests take beside first ones."""
        pairs = [(p.others_beside_first, p.others_beside_resident) for p in self.points]
        return [getattr(first, figure) / getattr(resident, figure) for first, resident in pairs]


class StartPoint(Frozen):
    """One start."""

    seconds: float
    ready_mib: float
    """Resident when it was ready."""
    later_mib: float
    """Resident after requests."""


class StartsResult(Measured):
    """Starts of the service and of an empty one in turns."""

    experiment: Starts
    graphs_mib: float
    """Of the graph files that are served."""
    first: StartPoint
    """The start that found nothing kept."""
    ours: tuple[StartPoint, ...]
    empty: tuple[StartPoint, ...]
