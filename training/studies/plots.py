"""A study's plots: every run a dot, the mean of each arm a line."""

import re
from pathlib import Path

from training.studies.definition import Compared
from training.studies.result import StudyResult


def plot_metric(result: StudyResult, metric: Compared, folder: Path) -> Path:
    """Writes ``<metric>.png``: a panel for each language, an arm a row."""
    from matplotlib.figure import Figure

    languages = result.languages(metric.name)
    arms = [
        arm
        for arm in result.arms
        if any(result.values(arm, metric.name, language) for language in languages)
    ]
    size = (1.5 + 4.0 * len(languages), 1.2 + 0.35 * len(arms))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(1, len(languages), sharey=True, squeeze=False)[0]
    for panel, language in zip(panels, languages, strict=True):
        for row, arm in enumerate(arms):
            values = list(result.values(arm, metric.name, language).values())
            panel.scatter(values, [row] * len(values), s=14, alpha=0.6)
            if values:
                mean = sum(values) / len(values)
                panel.plot([mean, mean], [row - 0.3, row + 0.3], color="black", linewidth=1.5)
        panel.set_yticks(range(len(arms)), arms)
        panel.invert_yaxis()
        panel.set_xlabel(f"{metric.name} {language} ({metric.better} is better)")
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{result.name}, {result.split} split, {len(result.seeds)} seeds", fontsize=9)
    path = folder / f"{re.sub(r'[^a-z0-9+]+', '-', metric.name.lower())}.png"
    figure.savefig(path, metadata={"Software": None})
    return path
