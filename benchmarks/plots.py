"""Results as plots: every aim with what was measured, and memory while modules come and go."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.goals import Goal
from benchmarks.result import ChurnResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST, MOST = 0.1, 10.0
"""Shares of an aim beyond which a dot lies on the edge."""


def plot_goals(goals: Sequence[Goal], path: Path) -> Path:
    """A row an aim, a dot a batch: its share of the aim, at least 1 where that is met."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.8 + 0.24 * len(goals)), dpi=90, layout="constrained")
    panel = figure.subplots()
    for row, goal in enumerate(goals):
        shares = [min(max(each, LEAST), MOST) for each in goal.shares]
        colours = ["tab:green" if each >= 1 else "tab:red" for each in shares]
        panel.scatter(shares, [row] * len(shares), s=16, c=colours)
    panel.axvline(1, color="black", linewidth=1)
    panel.set_xscale("log")
    panel.set_xlim(LEAST * 0.9, MOST * 1.1)
    panel.set_xticks(ticks := [0.1, 0.2, 0.5, 1, 2, 5, 10], [f"{each:g}" for each in ticks])
    labels = [" — ".join(filter(None, (goal.what, goal.against))) for goal in goals]
    panel.set_yticks(range(len(goals)), [each.replace("`", "") for each in labels], fontsize=7)
    panel.set_ylim(len(goals) - 0.3, -0.7)
    panel.set_xlabel("share of the aim: right of 1 it is met; a dot for each batch")
    panel.grid(axis="x", alpha=0.3)
    return _saved(figure, path)


def plot_churn(result: ChurnResult, path: Path) -> Path:
    """Memory of the process over cycles, and what of it banks are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), dpi=90, layout="constrained")
    panel = figure.subplots()
    cycles = [point.cycles for point in result.points]
    panel.plot(cycles, [each.resident_mib for each in result.points], "o-", label="resident")
    panel.plot(cycles, [each.banks_mib for each in result.points], "o-", label="banks")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("modules put in and out")
    panel.set_ylabel("MiB")
    panel.grid(alpha=0.3)
    panel.legend(loc="center right")
    return _saved(figure, path)


def _saved(figure: "Figure", path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path
