"""``training baseline``: what a task module must beat: character n-grams under a linear model.

The runs with ``train: head`` (bare base) and ``train: base`` (full fine-tuning) bring their own
scores; they are collected here too, so that one file holds every rival.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langmod.config import Frozen, RunConfig, write_atomic
from langmod.languages import canonical
from langmod.specs import RUN_FILE, SCORES_FILE, Metric, ModuleRun, read_scores
from training.data.task_data import LabelledText, TaskSettings, read_examples
from training.evaluation.frozen import frozen_metrics
from training.evaluation.word_tagger import neighbour_ngrams, spans_of, words_of
from training.modules.vector_reader import VectorReader
from training.scoring.score import ScoredSplit, examples_digest

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

LINEAR = "sublinear, min_df 2|LogisticRegression C=10, 100 iterations"
SIGNATURES = {
    "classify": f"tfidf char_wb 1-5, {LINEAR}",
    "tag": f"tfidf of each word and its neighbours, characters 1-5, {LINEAR}|whole words",
}


class BaselineConfig(RunConfig):
    """One run of ``training baseline``."""

    tasks: tuple[TaskSettings, ...]
    split: ScoredSplit = "test"
    runs: Path
    """Where runs with ``train: head`` and ``train: base`` left their scores."""
    frozen: str | None = None
    """A base on whose vectors as they are labels of whole texts are learned too."""
    frozen_sources: tuple[str, ...] = ()
    """Languages from whose examples alone they are learned for all others of a task, besides."""
    out: Path


class BaselineRow(Frozen):
    """One rival on one task."""

    system: str
    """``tfidf-lr``, ``frozen-lr``, ``frozen-lr-<language>``, ``head`` or ``base``."""
    base: str | None
    """None where no base takes part."""
    task: str | None
    """None for language modules' rivals."""
    metrics: tuple[Metric, ...]


class Rivals(Frozen):
    """Everything a module is compared with."""

    rows: tuple[BaselineRow, ...]

    def __str__(self) -> str:
        return f"{len(self.rows)} rivals scored"


def score_baselines(config: BaselineConfig) -> Rivals:
    """Fits and scores the linear models, collects the other rivals, writes all as JSON.

    Raises:
        DataError: labelled text that cannot be read.
    """
    rows = [
        BaselineRow(
            system="tfidf-lr",
            base=None,
            task=task.name,
            metrics=tuple(linear_metrics(task, config.split)),
        )
        for task in config.tasks
    ]
    rows += frozen_rows(config)
    rivals = Rivals(rows=(*rows, *collect_runs(config.runs, config.split)))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(config.out, json.dumps(rivals.model_dump(mode="json"), indent=1) + "\n")
    return rivals


def frozen_rows(config: BaselineConfig) -> list[BaselineRow]:
    """Regressions on a frozen base's vectors, of every task that labels whole texts."""
    if config.frozen is None:
        return []
    reader, rows = VectorReader(config.frozen), []
    for task in config.tasks:
        own = [source for source in config.frozen_sources if source in task.languages]
        for source in (None, *own) if task.kind == "classify" else ():
            rows.append(
                BaselineRow(
                    system="frozen-lr" if source is None else f"frozen-lr-{source}",
                    base=reader.scored.spec.name,
                    task=task.name,
                    metrics=tuple(frozen_metrics(reader, task, config.split, source)),
                )
            )
    return rows


def linear_metrics(settings: TaskSettings, split: ScoredSplit) -> list[Metric]:
    """A model of its own for each language, on the examples that the task modules saw."""
    metrics = []
    for language in settings.languages:
        train = read_examples(settings, language, "train")
        truth = read_examples(settings, language, split)
        answers = ANSWERS[settings.kind](train, truth)
        references = [example.reference for example in truth]
        metrics += [
            Metric(
                name=name,
                value=value,
                split=split,
                language=canonical(language),
                signature=f"{SIGNATURES[settings.kind]}|examples:{len(truth)}",
                data=examples_digest(truth),
            )
            for name, value in settings.task().score(answers, references).items()
        ]
    return metrics


def linear_model(**features: object) -> "Pipeline":
    """TF-IDF of character n-grams, then a logistic regression."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32, **features),
        LogisticRegression(C=10, max_iter=100),
    )


def classify_texts(train: Sequence[LabelledText], test: Sequence[LabelledText]) -> list[object]:
    """Labels of the test texts."""
    model = linear_model(analyzer="char_wb", ngram_range=(1, 5))
    model.fit([_flat(each) for each in train], [each.reference for each in train])
    return [str(label) for label in model.predict([_flat(each) for each in test])]


def tag_words(train: Sequence[LabelledText], test: Sequence[LabelledText]) -> list[object]:
    """Spans of whole words of the test texts."""
    words = [word for each in train for word in words_of(each)]
    model = linear_model(analyzer=neighbour_ngrams)
    model.fit([word.context for word in words], [word.label for word in words])
    found: list[object] = []
    for each in test:
        own = words_of(each)
        labels = model.predict([word.context for word in own]) if own else []
        found.append(spans_of(own, [str(label) for label in labels]))
    return found


ANSWERS: dict[str, Callable[[Sequence[LabelledText], Sequence[LabelledText]], list[object]]] = {
    "classify": classify_texts,
    "tag": tag_words,
}
"""Kind of task → the linear model's answers to the test texts."""


def _flat(example: LabelledText) -> str:
    return example.text if isinstance(example.text, str) else " ||| ".join(example.text)


def collect_runs(runs: Path, split: ScoredSplit) -> list[BaselineRow]:
    """The scores that baseline runs left behind."""
    found = []
    for folder in sorted(path.parent for path in runs.glob(f"*/{RUN_FILE}")):
        run = ModuleRun.load(folder)
        if run.train == "module" or not (folder / SCORES_FILE).is_file():
            continue
        metrics = tuple(each for each in read_scores(folder) if each.split == split)
        found.append(BaselineRow(system=run.train, base=run.base, task=run.task, metrics=metrics))
    return found
