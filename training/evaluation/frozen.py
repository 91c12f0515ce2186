"""What a task needs no module for: a logistic regression on an encoder's vectors as they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langmod.languages import canonical
from langmod.specs import Metric
from training.data.task_data import LabelledText, TaskSettings, read_examples
from training.modules.vector_reader import VectorReader
from training.scoring.score import ScoredSplit, examples_digest

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

ABOUT = "vectors of the frozen base|LogisticRegression C=100, 1000 iterations"
Features = NDArray[np.float32]


def frozen_metrics(
    reader: VectorReader, settings: TaskSettings, split: ScoredSplit, source: str | None = None
) -> list[Metric]:
    """A regression for each language, or one of a ``source`` language for all of them."""
    fitted = None if source is None else _fitted(reader, settings, source)
    metrics = []
    for language in settings.languages:
        model = fitted or _fitted(reader, settings, language)
        truth = read_examples(settings, language, split)
        answers = [str(label) for label in model.predict(features(reader, truth))]
        scores = settings.task().score(answers, [example.reference for example in truth])
        about = f"{ABOUT}|{f'examples of {source} alone' if source else 'own examples'}"
        metrics += [
            Metric(
                name=name,
                value=value,
                split=split,
                language=canonical(language),
                signature=f"{about}|examples:{len(truth)}",
                data=examples_digest(truth),
            )
            for name, value in scores.items()
        ]
    return metrics


def features(reader: VectorReader, examples: Sequence[LabelledText]) -> Features:
    """``[N, D]`` of texts; of pairs both vectors, their distances and products, ``[N, 4D]``."""
    language = examples[0].language
    if isinstance(examples[0].text, str):
        return reader.vectors([str(each.text) for each in examples], language)
    left, right = (
        reader.vectors([each.text[side] for each in examples], language) for side in (0, 1)
    )
    return np.concatenate([left, right, np.abs(left - right), left * right], axis=1)


def _fitted(reader: VectorReader, settings: TaskSettings, language: str) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    train = read_examples(settings, language, "train")
    model = LogisticRegression(C=100, max_iter=1000)
    return model.fit(features(reader, train), [str(each.reference) for each in train])
