"""Results as Markdown tables, put between the markers of README.md."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.experiment import Arm
from benchmarks.result import Figure, Point, Result
from langmod.config import write_atomic
from langmod.errors import ConfigError

RESULTS = Path("benchmarks/results")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
ARMS: dict[Arm, str] = {
    "mixed": "languages mixed",
    "by_language": "one language at a time",
    "bare": "bare base, mixed",
}
WAITS: tuple[Figure, ...] = ("p50", "p95", "p99")
WHERE = {"load": "over HTTP", "engine": "engine in process"}


def write_tables(readme: Path) -> int:
    """Puts every result's table into a file; returns how many.

    Raises:
        ConfigError: the file has no markers, or there is no result.
    """
    files = sorted(path for way in WHERE for path in (RESULTS / way).glob("*.json"))
    results = [Result.load(path) for path in files]
    if not results:
        raise ConfigError(f"{RESULTS} holds no result: run `make bench`")
    text = readme.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ConfigError(f"{readme} has no {START} … {END} to put the tables between")
    results.sort(key=lambda result: (result.experiment.name, result.way != "load"))
    tables = "\n\n".join(table(result) for result in results)
    write_atomic(readme, f"{before}{START}\n\n{tables}\n\n{END}{after}")
    return len(results)


def table(result: Result) -> str:
    """One experiment: a row a concurrency, for each arm its figures and what others are to it."""
    arms = result.experiment.arms
    head = ["at once", *(ARMS[arm] for arm in arms), *(f"mixed ÷ {ARMS[arm]}" for arm in arms[1:])]
    rows = [_row(result, concurrency) for concurrency in result.experiment.concurrencies]
    lines = [head, ["--:"] * len(head), *rows]
    return "\n".join([_caption(result), "", *(f"| {' | '.join(line)} |" for line in lines)])


def _row(result: Result, concurrency: int) -> list[str]:
    points = [result.point(arm, concurrency) for arm in result.experiment.arms]
    found = [point for point in points if point is not None]
    speeds = [point.median("texts_per_second") for point in found]
    ratios = [f"{speeds[0] / speed:.2f}" for speed in speeds[1:]]
    return [str(concurrency), *(_cell(point) for point in found), *ratios]


def _cell(point: Point) -> str:
    low, high = point.spread("texts_per_second")
    waits = " / ".join(f"{point.median(figure):.0f}" for figure in WAITS)
    speed = f"{point.median('texts_per_second'):.0f} ({low:.0f}–{high:.0f})"
    return f"{speed}; {waits}"


def _caption(result: Result) -> str:
    experiment, machine = result.experiment, result.machine
    different = sum(point.different for point in result.points)
    return (
        f"**{experiment.title}, {WHERE[result.way]}** — texts/s, median (lowest–highest) of "
        f"{experiment.repetitions} repetitions; p50 / p95 / p99 in ms. {experiment.precision}, "
        f"{experiment.texts} text{'s' * (experiment.texts > 1)} a request, "
        f"{len(result.modules)} modules; {different} answers differ from the same request alone. "
        f"{machine.processor}, {machine.cores} cores, load {machine.load_average:g} at the start; "
        f"commit `{result.commit}`, {_listed(result.bases)}."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
