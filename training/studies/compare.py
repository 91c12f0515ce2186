"""``training compare``: a study's result → tests, tables in Markdown and LaTeX, plots."""

import hashlib
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from langmod.config import Frozen, RunConfig, write_atomic
from langmod.errors import ConfigError
from langmod.specs import Metric
from training.studies.definition import Compared, Study
from training.studies.differences import Difference, family
from training.studies.plots import plot_metric
from training.studies.result import StudyResult
from training.studies.sentences import SentenceRow, compare_sentences
from training.studies.tables import cost_table, metric_table, sentence_table

MEAN = "mean"
"""Stands in place of a language for the mean over all of them."""


class CompareConfig(RunConfig):
    """One run of ``training compare``."""

    results: Path
    """A study's JSON."""
    out: Path
    """Where tables and plots go."""
    trials: int = 1000
    """Trials of each test that compares sentence by sentence."""

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Loads a study's JSON, or its yaml with the overrides that it was made with.

        Raises:
            ConfigError: no such file, or a yaml that is no study.
        """
        results = path if path.suffix == ".json" else Study.load(path, overrides).result
        return cls(results=results, out=results.with_suffix(""))


class Comparison(Frozen):
    """``compare.json``: every test of a study."""

    name: str
    differences: tuple[Difference, ...]
    sentences: tuple[SentenceRow, ...]
    out: Path

    def __str__(self) -> str:
        return f"{self.name}: {len(self.differences)} differences tested, tables in {self.out}"


def compare(config: CompareConfig) -> Comparison:
    """Tests every comparison of a study and writes ``compare.json``, tables and plots to ``out``.

    Raises:
        ConfigError: no such result.
    """
    result = averaged(StudyResult.load(config.results))
    config.out.mkdir(parents=True, exist_ok=True)
    differences: list[Difference] = []
    tables = []
    for metric in metrics_of(result):
        own = family(result, metric) if metric.tested else []
        differences += own
        tables.append(metric_table(result, metric, own))
        plot_metric(result, metric, config.out)
    sentences = compare_sentences(result, config.trials)
    if sentences:
        tables.append(sentence_table(result, sentences))
    tables.append(cost_table(result))
    comparison = Comparison(
        name=result.name,
        differences=tuple(differences),
        sentences=tuple(sentences),
        out=config.out,
    )
    write_atomic(config.out / "compare.json", comparison.model_dump_json(indent=1) + "\n")
    write_atomic(config.out / "tables.md", "\n\n".join(each.markdown() for each in tables) + "\n")
    write_atomic(config.out / "tables.tex", "\n\n".join(each.latex() for each in tables) + "\n")
    return comparison


def averaged(result: StudyResult) -> StudyResult:
    """Puts the mean over all languages in place of the metrics that are to be averaged.

    A run that lacks one of the languages has no mean.
    """
    wanted = {metric.name for metric in metrics_of(result) if metric.averaged}
    languages = {name: result.languages(name) for name in wanted}
    runs = []
    for run in result.runs:
        kept = [metric for metric in run.metrics if metric.name not in wanted]
        for name in sorted(wanted):
            own = [metric for metric in run.metrics if metric.name == name]
            if len(own) == len(languages[name]):
                kept.append(_mean(own))
        runs.append(run.model_copy(update={"metrics": tuple(kept)}))
    return result.model_copy(update={"runs": tuple(runs)})


def _mean(found: Sequence[Metric]) -> Metric:
    ordered = sorted(found, key=lambda metric: metric.language or "")
    names = ", ".join(metric.language or "" for metric in ordered)
    signatures = "; ".join(dict.fromkeys(metric.signature for metric in ordered))
    return ordered[0].model_copy(
        update={
            "language": MEAN,
            "value": statistics.fmean(metric.value for metric in ordered),
            "signature": f"mean of {names}: {signatures}",
            "data": hashlib.sha256("".join(m.data for m in ordered).encode()).hexdigest(),
        }
    )


def metrics_of(result: StudyResult) -> list[Compared]:
    """The compared metrics that some run has; ``chrf++`` stands for ``chrf++`` of every origin.

    Raises:
        ConfigError: none of them.
    """
    present = sorted({m.name for run in result.runs for m in run.metrics})
    found = [
        metric.model_copy(update={"name": name})
        for metric in result.metrics
        for name in present
        if metric.name in (name, name.partition(" ")[0])
    ]
    if not found:
        wanted = ", ".join(metric.name for metric in result.metrics)
        raise ConfigError(f"{result.name}: no run has {wanted}; the runs have {', '.join(present)}")
    return found
