"""``training probe``: how alike an encoder's middle makes the languages it reads.

Sentence retrieval finds a sentence's translation among all others by cosine; linear probes tell how
well languages can still be told apart there, and whether a task learnt in one language works in
others (zero-shot transfer of a linear classifier, the encoder left as it is).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptation.architectures import EncoderArchitecture, load_base
from adaptation.bases import load_spec, resolve_base
from langmod.config import Frozen, RunConfig
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import Metric, write_scores
from training.data.corpus import read_pairs, read_text
from training.data.task_data import TaskSettings, read_examples
from training.objectives.middle import LowerHalf, middle_of, pooled
from training.scoring.score import SEED, Sample, texts_digest

Vectors = NDArray[np.float32]
BATCH_TOKENS = 8192


class ProbeConfig(RunConfig):
    """One run of ``training probe``."""

    model: Path
    """An encoder base."""
    corpus: Path
    languages: tuple[str, ...]
    """Told apart from one another; each that is not the pivot is looked up in it and back."""
    pivot: str = "en"
    split: Literal["dev", "test"] = "test"
    sentences: int = 200
    """Most sentences of each language, and most pairs."""
    middle: int | None = None
    """Layers below the vectors; None: half of them."""
    task: TaskSettings | None = None
    """Learnt in its first language, scored in every other."""
    out: Path


class Probed(Frozen):
    """What was measured."""

    metrics: tuple[Metric, ...]

    def __str__(self) -> str:
        return "\n".join(f"{m.name} {m.language or ''}: {m.value:.4f}" for m in self.metrics)


class Reader:
    """Texts → means over the tokens of the middle layer."""

    def __init__(self, folder: Path, middle: int | None) -> None:
        """Opens a base.

        Raises:
            ConfigError: no encoder base there.
        """
        architecture = load_base(resolve_base(str(folder)))
        if not isinstance(architecture, EncoderArchitecture):
            raise ConfigError(f"model: {folder} is a {architecture.kind}, wanted an encoder")
        architecture.model.eval()
        self.encoder = TextEncoder(folder / "tokenizer.json", load_spec(folder))
        self.depth = middle_of(architecture, middle)
        self.lower = LowerHalf.of(architecture, self.depth)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """``[N, D]``, batches of like length."""
        rows = [self.encoder.encode(text, truncate=True).token_ids for text in texts]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        found: list[Vectors] = []
        start = 0
        while start < len(order):
            size = max(1, BATCH_TOKENS // 4 // len(rows[order[start]]))
            found.append(self._batch([rows[place] for place in order[start : start + size]]))
            start += size
        back = np.argsort(np.array(order))
        ordered: Vectors = np.concatenate(found)[back]
        return ordered

    def _batch(self, rows: Sequence[NDArray[np.int64]]) -> Vectors:
        pad = self.encoder.base.pad_id
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row) for row in rows], batch_first=True, padding_value=pad
        )  # [B, T]
        mask = (ids != pad).long()
        with torch.no_grad():
            hidden = self.lower(ids, mask)  # [B, T, D]
            inner = mask.clone()
            inner[:, 0] = 0
            inner[torch.arange(len(ids)), mask.sum(1) - 1] = 0
            found: Vectors = pooled(hidden, inner).numpy()
        return found


def probe(config: ProbeConfig) -> Probed:
    """Scores a base's middle; writes ``scores.json``.

    Raises:
        ConfigError: no encoder base there.
        DataError: the corpus or the task lacks a language.
    """
    reader = Reader(config.model, config.middle)
    sample = Sample(corpus=config.corpus, split=config.split, sentences=config.sentences)
    metrics = [
        metric
        for tag in config.languages
        if canonical(tag) != canonical(config.pivot)
        for metric in retrieval(reader, sample, (canonical(tag), canonical(config.pivot)))
    ]
    metrics.append(language_probe(reader, sample, config.languages))
    if config.task is not None:
        metrics += task_probe(reader, config.task, config.split)
    config.out.mkdir(parents=True, exist_ok=True)
    write_scores(config.out, metrics)
    return Probed(metrics=tuple(metrics))


def retrieval(reader: Reader, sample: Sample, direction: tuple[str, str]) -> list[Metric]:
    """Share of sentences whose translation is nearest, both ways."""
    pairs = sample.draw(read_pairs(sample.corpus, *direction, sample.split))
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    scores = nearest([reader.vectors(side) for side in sides])
    return [
        Metric(
            name="retrieval@1",
            value=value,
            split=sample.split,
            language="-".join(way),
            signature=f"cosine of means, layer {reader.depth}|pairs:{len(pairs)}|seed:{SEED}",
            data=texts_digest([*sides[0], *sides[1]]),
        )
        for way, value in zip((direction, direction[::-1]), scores, strict=True)
    ]


def nearest(sides: Sequence[Vectors]) -> tuple[float, float]:
    """Share of rows ``[P, D]`` whose partner has the highest cosine: left to right, and back."""
    units = [each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-9) for each in sides]
    scores = units[0] @ units[1].T  # [P, P]
    partners = np.arange(len(scores))
    ways = [float((found == partners).mean()) for found in (scores.argmax(1), scores.argmax(0))]
    return ways[0], ways[1]


def language_probe(reader: Reader, sample: Sample, languages: Sequence[str]) -> Metric:
    """How well a fresh linear classifier, fitted on the other held-out split, knows languages."""
    other: Literal["dev", "test"] = "dev" if sample.split == "test" else "test"
    fitted, scored = sample.model_copy(update={"split": other}), sample
    texts = {
        each.split: {tag: each.draw(read_text(each.corpus, tag, each.split)) for tag in languages}
        for each in (fitted, scored)
    }
    vectors = {split: [reader.vectors(own) for own in of.values()] for split, of in texts.items()}
    model = classifier().fit(np.concatenate(vectors[other]), _names(texts[other]))
    chosen = texts[sample.split]
    value = model.score(np.concatenate(vectors[sample.split]), _names(chosen))
    count = sum(map(len, chosen.values()))
    return Metric(
        name="language_accuracy",
        value=float(value),
        split=sample.split,
        signature=f"{_about(reader)}|fitted on {other}|sentences:{count}|seed:{SEED}",
        data=texts_digest([text for own in chosen.values() for text in own]),
    )


def task_probe(reader: Reader, task: TaskSettings, split: Literal["dev", "test"]) -> list[Metric]:
    """Accuracy of a linear classifier of the first language's training text, by language."""
    known = read_examples(task, task.languages[0], "train")
    model = classifier().fit(
        reader.vectors([str(each.text) for each in known]), [each.reference for each in known]
    )
    metrics = []
    for tag in task.languages:
        examples = read_examples(task, tag, split)
        texts = [str(each.text) for each in examples]
        value = model.score(reader.vectors(texts), [each.reference for each in examples])
        metrics.append(
            Metric(
                name=f"{task.name}_accuracy",
                value=float(value),
                split=split,
                language=canonical(tag),
                signature=f"{_about(reader)}|fitted on {len(known)} of {task.languages[0]}"
                f"|examples:{len(examples)}",
                data=texts_digest(texts),
            )
        )
    return metrics


def classifier() -> Pipeline:
    """Multinomial logistic regression on standardised vectors."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _about(reader: Reader) -> str:
    return f"logistic regression on means, layer {reader.depth}|sklearn:{sklearn.__version__}"


def _names(texts: Mapping[str, Sequence[Any]]) -> list[str]:
    return [tag for tag, own in texts.items() for _ in own]
