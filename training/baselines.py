"""``training baseline``: what a task module must beat: character n-grams under a linear model.

The runs with ``train: head`` (bare base) and ``train: base`` (full fine-tuning) bring their own
scores; they are collected here too, so that one file holds every rival.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from langmod.config import Frozen, RunConfig, write_atomic
from langmod.languages import canonical
from langmod.specs import Metric
from training.score import ScoredSplit, texts_digest
from training.task_data import LabelledText, TaskSettings, read_examples

NGRAMS = (1, 5)
SIGNATURE = "tfidf char_wb 1-5, sublinear, min_df 2|LogisticRegression C=10"


class BaselineConfig(RunConfig):
    """One run of ``training baseline``."""

    tasks: tuple[TaskSettings, ...]
    split: ScoredSplit = "test"
    runs: Path
    """Where runs with ``train: head`` and ``train: base`` left their scores."""
    out: Path


class BaselineRow(Frozen):
    """One rival on one task."""

    system: str
    """``tfidf-lr``, ``head`` or ``base``."""
    task: str
    metrics: tuple[Metric, ...]


class Rivals(Frozen):
    """Everything a task module is compared with."""

    rows: tuple[BaselineRow, ...]

    def __str__(self) -> str:
        return f"{len(self.rows)} rivals scored"


def score_baselines(config: BaselineConfig) -> Rivals:
    """Fits and scores the linear models, collects the other rivals, writes all as JSON.

    Raises:
        DataError: labelled text that cannot be read.
    """
    rows = [
        BaselineRow(system="tfidf-lr", task=task.name, metrics=tuple(linear_metrics(task, config)))
        for task in config.tasks
    ]
    rows += collect_runs(config.runs, config.split)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    rivals = Rivals(rows=tuple(rows))
    write_atomic(config.out, json.dumps(rivals.model_dump(mode="json"), indent=1) + "\n")
    return rivals


def linear_metrics(settings: TaskSettings, config: BaselineConfig) -> list[Metric]:
    """A model of its own for each language, on the examples that the task modules saw."""
    metrics = []
    for language in settings.languages:
        train = read_examples(settings, language, "train")
        truth = read_examples(settings, language, config.split)
        answer = tag_words if settings.kind == "tag" else classify_texts
        predictions = answer(train, truth)
        texts = [f"{example.text}\t{example.reference}" for example in truth]
        references = [example.reference for example in truth]
        metrics += [
            Metric(
                name=name,
                value=value,
                split=config.split,
                language=canonical(language),
                signature=f"{SIGNATURE}|examples:{len(truth)}",
                data=texts_digest(texts),
            )
            for name, value in settings.task().score(predictions, references).items()
        ]
    return metrics


def linear_model() -> Any:
    """TF-IDF of character n-grams inside words, then a logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, sublinear_tf=True, min_df=2),
        LogisticRegression(C=10, max_iter=300),
    )


def classify_texts(train: Sequence[LabelledText], test: Sequence[LabelledText]) -> list[str]:
    """Labels of the test texts."""
    model = linear_model()
    model.fit([_flat(each) for each in train], [each.reference for each in train])
    return [str(label) for label in model.predict([_flat(each) for each in test])]


def tag_words(
    train: Sequence[LabelledText], test: Sequence[LabelledText]
) -> list[list[tuple[int, int, str]]]:
    """Spans of whole words: each word is classified from its characters and its neighbours."""
    words = [word for each in train for word in _words(each)]
    model = linear_model()
    model.fit([context for context, _, _ in words], [label for _, _, label in words])
    found = []
    for each in test:
        own = _words(each)
        labels = model.predict([context for context, _, _ in own]) if own else []
        found.append(_joined([place for _, place, _ in own], [str(label) for label in labels]))
    return found


def _words(example: LabelledText) -> list[tuple[str, tuple[int, int], str]]:
    """Context, place and label of each word; a word has the label of the first span in it."""
    text, places, start = str(example.text), [], 0
    for word in text.split():
        start = text.index(word, start)
        places.append((start, start + len(word)))
        start += len(word)
    pieces = ["", *(text[start:end] for start, end in places), ""]
    return [
        (f"{pieces[at]}< {pieces[at + 1]} >{pieces[at + 2]}", place, _label(example, place))
        for at, place in enumerate(places)
    ]


def _label(example: LabelledText, place: tuple[int, int]) -> str:
    inside = (
        label for start, end, label in example.reference if start < place[1] and end > place[0]
    )
    return next(inside, "O")


def _joined(places: Sequence[tuple[int, int]], labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Neighbouring words of one label as one span."""
    spans: list[tuple[int, int, str]] = []
    last = "O"
    for (start, end), label in zip(places, labels, strict=True):
        if label != "O" and label == last:
            spans[-1] = (spans[-1][0], end, label)
        elif label != "O":
            spans.append((start, end, label))
        last = label
    return spans


def _flat(example: LabelledText) -> str:
    return example.text if isinstance(example.text, str) else " ||| ".join(example.text)


def collect_runs(runs: Path, split: ScoredSplit) -> list[BaselineRow]:
    """The scores that baseline runs left behind."""
    found = []
    for path in sorted(runs.glob("*/run.json")):
        run: dict[str, JsonValue] = json.loads(path.read_text(encoding="utf-8"))
        scores = path.with_name("scores.json")
        if run["train"] == "module" or not scores.is_file():
            continue
        rows = json.loads(scores.read_text(encoding="utf-8"))["metrics"]
        metrics = tuple(Metric.model_validate(row) for row in rows if row["split"] == split)
        task = str(run["task"] or "language")
        found.append(BaselineRow(system=str(run["train"]), task=task, metrics=metrics))
    return found
