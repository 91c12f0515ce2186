"""Results as Markdown tables and plots, put between the markers of README.md."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks import aim_tables, graph_tables, serving_tables
from benchmarks.goals import goal_table, goals_of
from benchmarks.plots import plot_churn, plot_goals
from benchmarks.result import ChurnResult, ManyModulesResult, Measured, Result
from benchmarks.serving_results import FirstRequestsResult, OverHttpResult, StartsResult
from benchmarks.side_by_side import (
    BackTranslationResult,
    CostResult,
    EncoderRivalsResult,
    FillMaskResult,
    RivalsResult,
    TrainingResult,
)
from langmod.config import write_atomic
from langmod.errors import ConfigError

RESULTS = Path("benchmarks/results")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
Kind = Literal[
    "load", "engine", "many-modules", "churn", "slots", "rivals", "encoder-rivals",
    "fill-mask-rivals", "back-translation", "training",
    "over-http", "first-requests", "starts",
]  # fmt: skip
KINDS: dict[Kind, type[Measured]] = {
    "load": Result,
    "engine": Result,
    "many-modules": ManyModulesResult,
    "churn": ChurnResult,
    "slots": CostResult,
    "rivals": RivalsResult,
    "encoder-rivals": EncoderRivalsResult,
    "fill-mask-rivals": FillMaskResult,
    "back-translation": BackTranslationResult,
    "training": TrainingResult,
    "over-http": OverHttpResult,
    "first-requests": FirstRequestsResult,
    "starts": StartsResult,
}
"""Folder of results → what lies there."""
MAKERS: dict[type[Measured], Callable[[Any], str]] = {
    Result: serving_tables.arms,
    ManyModulesResult: serving_tables.many_modules,
    ChurnResult: serving_tables.churn,
    CostResult: graph_tables.costs,
    RivalsResult: graph_tables.rivals,
    EncoderRivalsResult: graph_tables.encoders,
    FillMaskResult: graph_tables.fill_masks,
    BackTranslationResult: graph_tables.back_translations,
    TrainingResult: graph_tables.training,
    OverHttpResult: aim_tables.over_http,
    FirstRequestsResult: aim_tables.first_requests,
    StartsResult: aim_tables.starts,
}
"""What lies there → its table."""


def write_tables(readme: Path) -> int:
    """Puts every result's table into a file, with plots beside the results; returns how many.

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
    in_order = [result for _, result in results]
    parts = list(_parts(in_order, readme.parent))
    write_atomic(readme, "\n\n".join([f"{before}{START}", *parts, f"{END}{after}"]))
    return len(results)


def _parts(results: Sequence[Measured], folder: Path) -> Iterator[str]:
    """Aims first, then every result's table, each plot under its table."""
    goals = goals_of(results)
    if goals:
        yield goal_table(goals)
        yield _shown("Aims", plot_goals(goals, RESULTS / "plots" / "aims.png"), folder)
    for result in results:
        yield table(result)
        if isinstance(result, ChurnResult):
            name = result.experiment.name
            path = plot_churn(result, RESULTS / "plots" / f"{name}.png")
            yield _shown(result.experiment.title, path, folder)


def _shown(title: str, path: Path, folder: Path) -> str:
    """An image of a file in or below a folder."""
    return f"![{title}]({os.path.relpath(path, folder)})"


def table(result: Measured) -> str:
    """One experiment's result with its caption."""
    return MAKERS[type(result)](result)
