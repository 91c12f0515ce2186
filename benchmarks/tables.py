"""Results as Markdown tables between the markers of a file, with their plots beside them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.experiment import Column, Point, Result
from benchmarks.kinds import KINDS
from langmod.config import write_atomic
from langmod.errors import ConfigError

RESULTS = Path("benchmarks/results")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"


def write_tables(readme: Path) -> int:
    """Puts every result's table into a file, with plots beside the results; returns how many.

    Raises:
        ConfigError: the file has no markers, or there is no result.
    """
    results = [Result.load(path) for kind in KINDS for path in (RESULTS / kind).glob("*.json")]
    if not results:
        raise ConfigError(f"{RESULTS} holds no result: run `make bench`")
    before, start, rest = readme.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ConfigError(f"{readme} has no {START} … {END} to put the tables between")
    results.sort(key=lambda each: each.experiment.name)
    parts = _parts(results, readme.parent)
    write_atomic(readme, "\n\n".join([f"{before}{START}", *parts, f"{END}{after}"]))
    return len(results)


def _parts(results: Sequence[Result], folder: Path) -> Iterator[str]:
    """Aims first, then every result's table, each plot under its table."""
    if aims := aims_table(results):
        yield aims
    for result in results:
        yield table(result)
        if result.experiment.plotted:
            yield _plot(result, folder)


def _plot(result: Result, folder: Path) -> str:
    """An image of the figures that an experiment names, over its settings, which are numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), dpi=90, layout="constrained")
    panel = figure.subplots()
    settings = [float(point.setting) for point in result.points]
    for name in result.experiment.plotted:
        panel.plot(settings, [each.median(name) for each in result.points], "o-", label=name)
    panel.set_ylim(bottom=0)
    panel.set_xlabel(result.experiment.heads[0])
    panel.grid(alpha=0.3)
    panel.legend(loc="center right")
    path = RESULTS / "plots" / f"{result.experiment.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return f"![{result.experiment.title}]({os.path.relpath(path, folder)})"


def aims_table(results: Iterable[Result]) -> str:
    """A row for each aim, with the medians of its figure; empty where there is none."""
    rows, met = [], 0
    for result in results:
        ratio = result.experiment.ratio
        for aim in result.experiment.aims:
            figure = aim.figure or (ratio.name if ratio else "")
            measured = [each.median(figure) for each in result.points if aim.is_of(each)]
            reached = all(map(aim.is_met, measured))
            met += reached
            against = aim.arm if aim.against is None else aim.against
            numbers = " / ".join(f"{each:.2f}" for each in measured) + aim.unit
            rows.append([aim.what, against, str(aim), numbers, "yes" if reached else "no"])
    caption = (
        f"**Aims** — {met} of {len(rows)} are met in every batch; medians, ours ÷ theirs; the "
        "tables below have the spread, the settings and the machine, "
        "[performance](docs/performance.md) what bounds those that are missed."
    )
    head = ["what", "against", "aim", "measured", "met"]
    return f"{caption}\n\n{as_table(head, rows)}" if rows else ""


def table(result: Result) -> str:
    """A row for each point under a caption; columns in which nothing stands are left out."""
    asked = result.experiment
    columns = [*asked.columns, *([Column(asked.ratio.name, ".2f")] if asked.ratio else [])]
    lines = [[*asked.heads, "settings", *(each.head for each in columns), "aim"]]
    for point in result.points:
        figures = [_cell(point, column) for column in columns]
        aims = ", ".join(str(aim) for aim in asked.aims if aim.is_of(point))
        lines.append([point.setting, point.arm, point.how, *figures, aims])
    shown = [column for column in zip(*lines, strict=True) if any(column[1:])]
    head, *rows = zip(*shown, strict=True)
    return f"{_caption(result)}\n\n{as_table(head, rows)}"


def _cell(point: Point, column: Column) -> str:
    names = [each for each in column.figures or (column.head,) if each in point.figures]
    if len(names) == 1:
        numbers = point.figures[names[0]]
        low, middle, high = (format(f(numbers), column.form) for f in (min, median, max))
        return middle if low == high else f"{middle} ({low}–{high})"
    return " / ".join(format(point.median(name), column.form) for name in names)


def _caption(result: Result) -> str:
    asked, now = result.experiment, result.circumstances
    settings = {
        name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in asked
    }
    several = asked.repetitions > 1
    parts = [
        f"**{asked.title}** —",
        asked.caption.format_map(settings),
        f"Median (lowest–highest) of {asked.repetitions} repetitions in turns;" * several,
        f"{asked.threads} thread{'s' * (asked.threads > 1)}. {now.machine.processor},",
        f"{now.machine.cores} cores, load {now.machine.load_average:g} at the start;",
        f"commit {', '.join(f'`{each}`' for each in (now.commit, *now.bases))}.",
        asked.note,
    ]
    return " ".join(filter(None, parts))


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
