"""Tables of experiments about serving: ours, the peer's, the ratio and the aim."""

from collections.abc import Sequence
from statistics import median

from benchmarks.markdown import laid_out
from benchmarks.result import Run
from benchmarks.serving_experiments import Peer
from benchmarks.serving_results import (
    FirstRequestsResult,
    HttpPoint,
    OverHttpResult,
    StartPoint,
    StartsResult,
)

PEERS: dict[Peer, str] = {"engine": "engine in process", "empty": "empty service"}


def over_http(result: OverHttpResult) -> str:
    """A row a kind of work and concurrency."""
    asked = result.experiment
    different = sum(point.different for point in result.points)
    caption = (
        f"**{asked.title}** — texts/s, median (lowest–highest) of {asked.repetitions} repetitions "
        f"in turns; p50 / p95 in ms; {asked.precision}, {asked.texts} "
        f"text{'s' * (asked.texts > 1)} a request; the share is the median over repetitions; "
        f"{different} answers differ from the same request alone."
    )
    head = ["work", "at once", "over HTTP", PEERS[asked.beside], "share of it", "aim"]
    rows = [
        [
            f"`{point.endpoint}`",
            str(point.concurrency),
            _speeds(point.ours),
            _speeds(point.peer),
            _share(point),
            f"≥ {asked.aim:g}",
        ]
        for point in result.points
    ]
    return laid_out(result, caption, head, rows)


def _share(point: HttpPoint) -> str:
    pairs = zip(point.ours, point.peer, strict=True)
    shares = [own.texts_per_second / its.texts_per_second for own, its in pairs]
    return f"{point.share:.2f} ({min(shares):.2f}–{max(shares):.2f})"


def _speeds(runs: Sequence[Run]) -> str:
    speeds = [run.texts_per_second for run in runs]
    waits = " / ".join(f"{median(getattr(run, p) for run in runs):.0f}" for p in ("p50", "p95"))
    return f"{median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f}); {waits}"


def first_requests(result: FirstRequestsResult) -> str:
    """A row for those requests, a row for the others."""
    asked, points = result.experiment, result.points
    caption = (
        f"**{asked.title}** — p50 / p95 in ms over HTTP, medians of {asked.repetitions} "
        f"repetitions of {asked.probes} requests, one every {asked.every * 1000:g} ms; other "
        f"requests of resident modules one every {asked.others_every * 1000:g} ms; modules of "
        f"{result.module_bytes / 2**10:.0f} KiB made of `{asked.copies.module}`, not in the "
        f"system's memory; {asked.precision}; {result.different} first answers differ from later "
        "ones. The last but one column is of p95, median (lowest–highest)."
    )
    later, others = result.later("p95"), result.others("p95")
    rows = [
        [
            "those requests",
            _waits([point.resident for point in points]),
            _waits([point.first for point in points]),
            f"{median(later):+.1f} ({min(later):+.1f}–{max(later):+.1f}) ms",
            f"≤ {asked.aim:+g} ms",
        ],
        [
            "other traffic meanwhile",
            _waits([point.others_beside_resident for point in points]),
            _waits([point.others_beside_first for point in points]),
            f"x {median(others):.2f} ({min(others):.2f}–{max(others):.2f})",
            f"≤ x {asked.others_aim:g}",
        ],
    ]
    head = ["", "resident modules", "first requests of modules on disk", "first ÷ resident", "aim"]
    return laid_out(result, caption, head, rows)


def _waits(runs: Sequence[Run]) -> str:
    return " / ".join(f"{median(getattr(run, p) for run in runs):.1f}" for p in ("p50", "p95"))


def starts(result: StartsResult) -> str:
    """A row for the time, rows for the memory."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — medians (lowest–highest) of {asked.repetitions} starts in turns with "
        f"an empty service; memory is resident memory of the process that answers; graph files of "
        f"{result.graphs_mib:.1f} MiB, {asked.precision}. The first start, that found nothing "
        f"kept, took {result.first.seconds:.1f} s."
    )
    seconds = [point.seconds for point in result.ours]
    rows = [
        [
            "start to ready, s",
            _spread(seconds),
            _spread([point.seconds for point in result.empty]),
            "",
            f"≤ {asked.aim_seconds:g} s",
        ],
        _memory("resident when ready, MiB", result, "ready_mib"),
        _memory("resident after requests, MiB", result, "later_mib"),
    ]
    head = ["", "ours", "empty service", "÷ graph files (beyond the empty service)", "aim"]
    return laid_out(result, caption, head, rows)


def _memory(what: str, result: StartsResult, field: str) -> list[str]:
    def values(points: Sequence[StartPoint]) -> list[float]:
        return [getattr(point, field) for point in points]

    own, empty = values(result.ours), values(result.empty)
    beyond = (median(own) - median(empty)) / result.graphs_mib
    share = f"{median(own) / result.graphs_mib:.2f} ({beyond:.2f})"
    aim = f"≤ {result.experiment.aim_memory:g}"
    return [what, _spread(own), _spread(empty), share, aim]


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
