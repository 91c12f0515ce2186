"""Results as Markdown tables, put between the markers of README.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

from benchmarks.experiment import Arm, Loop, Mix, Traffic
from benchmarks.result import (
    ChurnResult,
    CostPoint,
    CostResult,
    Figure,
    ManyModulesResult,
    Measured,
    Result,
    Runs,
    SlotsPoint,
    TrainingPoint,
    TrainingResult,
)
from langmod.config import write_atomic
from langmod.errors import ConfigError

RESULTS = Path("benchmarks/results")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
Kind = Literal["load", "engine", "many-modules", "churn", "slots", "training"]
KINDS: dict[Kind, type[Measured]] = {
    "load": Result,
    "engine": Result,
    "many-modules": ManyModulesResult,
    "churn": ChurnResult,
    "slots": CostResult,
    "training": TrainingResult,
}
"""Folder of results → what lies there."""
ARMS: dict[Arm, str] = {
    "mixed": "languages mixed",
    "by_language": "one language at a time",
    "bare": "bare base, mixed",
}
TRAFFICS: dict[Traffic, str] = {"zipf": "Zipf", "uniform": "uniform"}
LOOPS: dict[Loop, str] = {
    "langmod": "`training base`",
    "groups": "run_mlm, texts in groups",
    "lines": "run_mlm, a line a row",
    "padded": "run_mlm, a line a row, padded to full length",
}
MIXES: dict[Mix, str] = {
    "bare": "bare base",
    "lora": "LoRA",
    "bottleneck": "bottleneck",
    "every kind": "every method in turn",
    "every kind twice": "every method in turn, in both roles",
}
WAITS: tuple[Figure, ...] = ("p50", "p95", "p99")
WHERE = {"load": "over HTTP", "engine": "engine in process"}
FIGURES = "texts/s, median (lowest–highest) of {} repetitions; p50 / p95 / p99 in ms."


def write_tables(readme: Path) -> int:
    """Puts every result's table into a file; returns how many.

    Raises:
        ConfigError: the file has no markers, or there is no result.
    """
    results = [
        (kind, of.load(path))
        for kind, of in KINDS.items()
        for path in (RESULTS / kind).glob("*.json")
    ]
    if not results:
        raise ConfigError(f"{RESULTS} holds no result: run `make bench`")
    text = readme.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ConfigError(f"{readme} has no {START} … {END} to put the tables between")
    results.sort(key=lambda each: (each[1].experiment.name, list(KINDS).index(each[0])))
    tables = "\n\n".join(table(result) for _, result in results)
    write_atomic(readme, f"{before}{START}\n\n{tables}\n\n{END}{after}")
    return len(results)


def table(result: Measured) -> str:
    """One experiment's result with its caption."""
    if isinstance(result, ManyModulesResult):
        return _many_modules(result)
    if isinstance(result, ChurnResult):
        return _churn(result)
    if isinstance(result, CostResult):
        return _costs(result)
    if isinstance(result, TrainingResult):
        return _training(result)
    if isinstance(result, Result):
        return _arms(result)
    raise TypeError(f"no table for {type(result).__name__}")


def _arms(result: Result) -> str:
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
    return _table(result, caption, head, rows)


def _arm_row(result: Result, concurrency: int) -> list[str]:
    points = [result.point(arm, concurrency) for arm in result.experiment.arms]
    found = [point for point in points if point is not None]
    speeds = [point.median("texts_per_second") for point in found]
    ratios = [f"{speeds[0] / speed:.2f}" for speed in speeds[1:]]
    return [str(concurrency), *(_cell(point) for point in found), *ratios]


def _many_modules(result: ManyModulesResult) -> str:
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
        [str(slots), f"{_points(result, slots)[0].banks_mib:.0f}", *_slots_cells(result, slots)]
        for slots in asked.slots
    ]
    return _table(result, caption, ["slots", "banks, MiB", *heads], rows)


def _slots_cells(result: ManyModulesResult, slots: int) -> list[str]:
    firsts = _points(result, result.experiment.slots[0])
    pairs = zip(_points(result, slots), firsts, strict=True)
    return [
        cell
        for point, first in pairs
        for cell in (_cell(point), f"{point.hits:.0%}", _ratio(point, first))
    ]


def _points(result: ManyModulesResult, slots: int) -> list[SlotsPoint]:
    """Of every traffic."""
    return [point for point in result.points if point.slots == slots]


def _ratio(point: Runs, first: Runs) -> str:
    return f"{point.median('texts_per_second') / first.median('texts_per_second'):.2f}"


def _churn(result: ChurnResult) -> str:
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
    return _table(result, caption, head, rows)


def _costs(result: CostResult) -> str:
    """A row a batch, a column a mix."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — the body of an encoder of XLM-R's architecture with random weights, "
        f"{asked.layers} x {asked.width}, {asked.precision}; time beside that of the graph without "
        f"slots, median of {asked.repetitions} repetitions in turns; {asked.modules} modules with "
        f"the methods' own defaults in the slots of a role, rows take them in turn; "
        f"{asked.threads} thread{'s' * (asked.threads > 1)}."
    )
    head = ["rows x tokens", "plain graph, ms", *(MIXES[mix] for mix in asked.mixes)]
    rows = [_cost_row(result, batch) for batch in asked.batches]
    return _table(result, caption, head, rows)


def _cost_row(result: CostResult, batch: tuple[int, int]) -> list[str]:
    points = [point for point in result.points if (point.rows, point.tokens) == batch]
    plain = median(each for point in points for each in point.plain)
    return [f"{batch[0]} x {batch[1]}", f"{plain:.1f}", *map(_cost_cell, points)]


def _cost_cell(point: CostPoint) -> str:
    ratios = [own / bare for own, bare in zip(point.milliseconds, point.plain, strict=True)]
    return f"{point.ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _training(result: TrainingResult) -> str:
    """A row a training loop."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — tokens of text read in a second (padding does not count), median "
        f"(lowest–highest) of {asked.repetitions} repetitions of {asked.steps} steps, the loops in "
        f"turns, {asked.threads} thread{'s' * (asked.threads > 1)}; {asked.size}, "
        f"{asked.batch_size} rows of at most {asked.block_tokens} tokens a step, "
        f"{asked.mask_rate:.0%} masked; the last column is the median over repetitions."
    )
    if result.circumstances.machine.load_average > result.circumstances.machine.cores / 2:
        caption += " The machine was shared with other work: compare within the table."
    head = ["loop", "products", "text in a row", "s a step", "tokens/s", "`training base` ÷ it"]
    rows = [_training_row(result, point) for point in result.points]
    return _table(result, caption, head, rows)


def _training_row(result: TrainingResult, point: TrainingPoint) -> list[str]:
    speeds = [run.tokens_per_second for run in point.runs]
    return [
        LOOPS[point.arm.loop],
        "bf16" if point.arm.bf16 else "fp32",
        f"{median(run.text for run in point.runs):.0%}",
        f"{median(run.seconds_per_step for run in point.runs):.2f}",
        f"{median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f})",
        f"{result.ratio(point):.2f}",
    ]


def _cell(point: Runs) -> str:
    low, high = point.spread("texts_per_second")
    waits = " / ".join(f"{point.median(figure):.0f}" for figure in WAITS)
    speed = f"{point.median('texts_per_second'):.0f} ({low:.0f}–{high:.0f})"
    return f"{speed}; {waits}"


def _table(
    result: Measured, caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    now = result.circumstances
    where = (
        f"{now.machine.processor}, {now.machine.cores} cores, load {now.machine.load_average:g} "
        f"at the start; commit {', '.join(f'`{each}`' for each in (now.commit, *now.bases))}."
    )
    lines = [head, ["--:"] * len(head), *rows]
    return "\n".join([f"{caption} {where}", "", *(f"| {' | '.join(line)} |" for line in lines)])
