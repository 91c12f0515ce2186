"""Tables of what serves: engines and the service, with few modules and many."""

from benchmarks.experiment import Arm, Traffic
from benchmarks.markdown import laid_out
from benchmarks.result import (
    ChurnResult,
    Figure,
    ManyModulesResult,
    Result,
    Runs,
)

ARMS: dict[Arm, str] = {
    "mixed": "languages mixed",
    "by_language": "one language at a time",
    "bare": "bare base, mixed",
}
TRAFFICS: dict[Traffic, str] = {"zipf": "Zipf", "uniform": "uniform"}
WAITS: tuple[Figure, ...] = ("p50", "p95", "p99")
WHERE = {"load": "over HTTP", "engine": "engine in process"}
FIGURES = "texts/s, median (lowest–highest) of {} repetitions; p50 / p95 / p99 in ms."


def arms(result: Result) -> str:
    """A row a concurrency, for each arm its figures and what others are to it."""
    experiment, arms = result.experiment, result.experiment.arms
    head = ["at once", *(ARMS[arm] for arm in arms), *(f"mixed ÷ {ARMS[arm]}" for arm in arms[1:])]
    different = sum(point.different for point in result.points)
    caption = (
        f"**{experiment.title}, {WHERE[result.way]}** — "
        f"{FIGURES.format(experiment.repetitions)} {experiment.precision}, "
        f"{experiment.texts} text{'s' * (experiment.texts > 1)} a request, "
        f"{len(result.modules)} modules; {different} answers differ from the same request alone."
    )
    rows = [_arm_row(result, concurrency) for concurrency in experiment.concurrencies]
    return laid_out(result, caption, head, rows)


def _arm_row(result: Result, concurrency: int) -> list[str]:
    points = [result.point(arm, concurrency) for arm in result.experiment.arms]
    found = [point for point in points if point is not None]
    speeds = [point.median("texts_per_second") for point in found]
    ratios = [f"{speeds[0] / speed:.2f}" for speed in speeds[1:]]
    return [str(concurrency), *(_cell(point) for point in found), *ratios]


def many_modules(result: ManyModulesResult) -> str:
    """A row a number of slots, for each traffic its figures, hits, and share of the first row."""
    asked = result.experiment
    heads = [
        head
        for traffic in asked.traffics
        for head in (TRAFFICS[traffic], "in a slot", f"÷ {asked.slots[0]} slots")
    ]
    different = sum(point.different for point in result.points)
    caption = (
        f"**{asked.title}, engine in process** — {FIGURES.format(asked.repetitions)} "
        f"{asked.copies.count} modules made of `{asked.copies.module}`, {asked.concurrency} "
        f"requests at once; {asked.requests} a repetition, Zipf exponent {asked.exponent:g}; "
        f"memory beside the slots {asked.module_bytes / 2**20:.0f} MiB; {asked.precision}; "
        f"{different} answers differ from the same request alone with all modules resident."
    )
    rows = [
        [str(slots), f"{result.of_slots(slots)[0].banks_mib:.0f}", *_slots_cells(result, slots)]
        for slots in asked.slots
    ]
    return laid_out(result, caption, ["slots", "banks, MiB", *heads], rows)


def _slots_cells(result: ManyModulesResult, slots: int) -> list[str]:
    return [
        cell
        for point in result.of_slots(slots)
        for cell in (
            _cell(point),
            f"{point.hits:.0%}",
            f"{result.share(slots, point.traffic):.2f}",
        )
    ]


def churn(result: ChurnResult) -> str:
    """A row a reading."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — {asked.copies.count} modules in turn through {asked.slots} slots "
        f"and {asked.module_bytes / 2**20:.0f} MiB of memory, read from the disk each time, banks "
        f"of at most {asked.bank_bytes / 2**20:.0f} MiB, "
        f"{asked.concurrency} requests at once; {asked.precision}. From the first reading to the "
        f"last the process grew by {result.growth:.1f} MiB."
    )
    head = ["cycles", "resident, MiB", "banks, MiB", "evictions", "texts/s", "p50 / p95 / p99, ms"]
    rows = [
        [
            str(point.cycles),
            f"{point.resident_mib:.1f}",
            f"{point.banks_mib:.1f}",
            str(point.evictions),
            f"{point.run.texts_per_second:.0f}",
            " / ".join(f"{getattr(point.run, figure):.0f}" for figure in WAITS),
        ]
        for point in result.points
    ]
    return laid_out(result, caption, head, rows)


def _cell(point: Runs) -> str:
    low, high = point.spread("texts_per_second")
    waits = " / ".join(f"{point.median(figure):.0f}" for figure in WAITS)
    speed = f"{point.median('texts_per_second'):.0f} ({low:.0f}–{high:.0f})"
    return f"{speed}; {waits}"
