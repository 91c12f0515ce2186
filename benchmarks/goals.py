"""Every figure that has an aim, beside it: the table that comes first."""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.graph_tables import LOOPS, MIXES
from benchmarks.markdown import as_table
from benchmarks.result import ManyModulesResult, Measured
from benchmarks.serving_results import FirstRequestsResult, OverHttpResult, StartsResult
from benchmarks.side_by_side import (
    BackTranslationResult,
    CostResult,
    EncoderRivalsResult,
    FillMaskResult,
    RivalsResult,
    TrainingResult,
)

PEERS = {"engine": "the engine in process", "empty": "an empty BentoML service"}


class Goal(NamedTuple):
    """What was aimed at and what was measured, for one or several batches."""

    what: str
    against: str
    aim: float
    measured: tuple[float, ...]
    least: bool = True
    """Whether the aim is the least that will do, or the most."""
    unit: str = ""

    @property
    def met(self) -> bool:
        """In every batch."""
        return all(each >= self.aim if self.least else each <= self.aim for each in self.measured)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the aim, at least 1 where it is met; infinite where the most may be and nothing is."""
        if self.least:
            return tuple(each / self.aim for each in self.measured)
        return tuple(self.aim / each if each > 0 else math.inf for each in self.measured)


def goals_of(results: Sequence[Measured]) -> list[Goal]:
    """Every aim, those of one experiment together."""
    return [goal for result in results for goal in MAKERS.get(type(result), _none)(result)]


def goal_table(found: Sequence[Goal]) -> str:
    """A row an aim; nothing where there is none."""
    if not found:
        return ""
    rows = [
        [
            goal.what,
            goal.against,
            f"{'≥' if goal.least else '≤'} {goal.aim:g}{goal.unit}",
            " / ".join(f"{each:.2f}" for each in goal.measured) + goal.unit,
            "yes" if goal.met else "no",
        ]
        for goal in found
    ]
    met = sum(goal.met for goal in found)
    caption = (
        f"**Aims** — {met} of {len(found)} are met in every batch; medians, ours ÷ theirs; the "
        "tables below have the spread, the settings and the machine, "
        "[performance](docs/performance.md) what bounds those that are missed."
    )
    return f"{caption}\n\n{as_table(['what', 'against', 'aim', 'measured', 'met'], rows)}"


def _none(result: Measured) -> Iterator[Goal]:
    del result
    return iter(())


def _costs(result: CostResult) -> Iterator[Goal]:
    asked = result.experiment
    rows, tokens = asked.batches[-1]
    for mix, aim in asked.aims.items():
        measured = tuple(
            point.ratio
            for point in result.points
            if (point.rows, point.tokens, point.mix) == (rows, tokens, mix)
        )
        what = f"{rows} x {tokens}, {asked.width} wide, {asked.precision}: {MIXES[mix]}, time"
        yield Goal(what, "the graph without slots", aim, measured, least=False)


def _encoders(result: EncoderRivalsResult) -> Iterator[Goal]:
    asked = result.experiment
    counts = " / ".join(str(rows) for rows, _ in asked.batches)
    what = f"{counts} rows of {asked.modules} {asked.method} modules, {asked.layers} x "
    for system, aim in asked.aims.items():
        measured = tuple(result.ratio(point) for point in result.points if point.system == system)
        yield Goal(f"{what}{asked.width}, {asked.precision}, rows/s", system, aim, measured)


def _rivals(result: RivalsResult) -> Iterator[Goal]:
    asked = result.experiment
    size = (
        f"{asked.random.layers} + {asked.random.layers} x {asked.random.width}, random"
        if asked.random
        else asked.base
    )
    for system, aims in asked.aims.items():
        for beams, aim in zip((False, True), aims, strict=True):
            points = [
                each
                for each in result.points
                if each.system == system and (each.beams > 1) == beams
            ]
            if not points:
                continue
            counts = " / ".join(str(each.rows) for each in points)
            how = f"{points[0].beams} beams" if beams else "greedy"
            rows = "row" if counts == "1" else "rows"
            what = f"translation, {how}, {counts} {rows}, {size}, tokens/s"
            yield Goal(what, system, aim, tuple(result.ratio(each) for each in points))


def _fill_masks(result: FillMaskResult) -> Iterator[Goal]:
    asked = result.experiment
    what = f"fill-mask, {' / '.join(map(str, asked.rows))} rows with their modules, rows/s"
    for system, aim in asked.aims.items():
        measured = tuple(result.ratio(each) for each in result.points if each.system == system)
        yield Goal(what, system, aim, measured)


def _back_translations(result: BackTranslationResult) -> Iterator[Goal]:
    asked = result.experiment
    what = f"back-translation of {asked.sentences} sentences, with the module, sentences/s"
    for point in result.points:
        if point.system in asked.aims:
            yield Goal(what, point.system, asked.aims[point.system], (result.ratio(point),))


def _over_http(result: OverHttpResult) -> Iterator[Goal]:
    asked = result.experiment
    counts = " / ".join(map(str, asked.concurrencies))
    texts = "1 text" if asked.texts == 1 else f"{asked.texts} texts"
    for endpoint in dict.fromkeys(point.endpoint for point in result.points):
        shares = tuple(each.share for each in result.points if each.endpoint == endpoint)
        what = f"HTTP, `{endpoint}`, {texts} a request, {counts} at once, texts/s"
        yield Goal(what, PEERS[asked.beside], asked.aim, shares)


def _first_requests(result: FirstRequestsResult) -> Iterator[Goal]:
    asked = result.experiment
    later, others = median(result.later("p95")), median(result.others("p95"))
    first = "first request of a module on disk, p95"
    yield Goal(first, "a resident module's", asked.aim, (later,), least=False, unit=" ms more")
    what = "other traffic's p95 meanwhile"
    yield Goal(what, "the same beside resident ones", asked.others_aim, (others,), least=False)


def _starts(result: StartsResult) -> Iterator[Goal]:
    asked = result.experiment
    seconds = median(each.seconds for each in result.ours)
    what = "start to ready, after the first"
    yield Goal(what, "", asked.aim_seconds, (seconds,), least=False, unit=" s")
    memory = median(each.ready_mib for each in result.ours) / result.graphs_mib
    files = f"the graph files, {result.graphs_mib:.0f} MiB"
    yield Goal("resident memory when ready", files, asked.aim_memory, (memory,), least=False)


def _many_modules(result: ManyModulesResult) -> Iterator[Goal]:
    asked = result.experiment
    for slots, aim in asked.aims.items():
        what = f"{asked.copies.count} modules, Zipf {asked.exponent:g}, {slots} slots, texts/s"
        yield Goal(what, "all of them in slots", aim, (result.share(slots, "zipf"),))


def _training(result: TrainingResult) -> Iterator[Goal]:
    for point in result.points[1:]:
        loop = f"{LOOPS[point.arm.loop]}, {'bf16' if point.arm.bf16 else 'fp32'}"
        aim = result.experiment.aim
        yield Goal("`training base`, tokens/s", loop, aim, (result.ratio(point),))


MAKERS: dict[type[Measured], Callable[[Any], Iterator[Goal]]] = {
    CostResult: _costs,
    EncoderRivalsResult: _encoders,
    RivalsResult: _rivals,
    FillMaskResult: _fill_masks,
    BackTranslationResult: _back_translations,
    OverHttpResult: _over_http,
    FirstRequestsResult: _first_requests,
    StartsResult: _starts,
    ManyModulesResult: _many_modules,
    TrainingResult: _training,
}
"""Kinds of result that have aims."""
