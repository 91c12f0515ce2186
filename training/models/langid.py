"""`training langid`: corpus and labelled text → the weights of ``langmod.langid``, with a card.

One linear layer over hashed character n-grams, one-against-rest logistic losses by stochastic
gradient descent (scikit-learn), then one temperature over all logits (Guo et al. 2017, On
calibration of modern neural networks) so that the probabilities mean what they say.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field
from safetensors.numpy import save_file
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from sklearn.linear_model import SGDClassifier

from langmod.config import Frozen, RunConfig
from langmod.langid import FORMAT, LanguageIdentifier, ngram_buckets
from training.data.corpus import corpus_digest, corpus_languages, read_text, text_file
from training.data.sources import SPLITS, Sources, Split, read_sources

LONGEST_WORD = 12
"""Letters of a word on the average; beyond, a script has no spaces between words."""
Examples = list[tuple[str, str]]
"""Texts with their BCP-47 tags."""


class LangidConfig(RunConfig):
    """What the identifier learns from and how large it is."""

    corpus: Path
    output: Path
    sources: Sources = ()
    """Further text in one language each; ``split`` says what it is for."""
    bits: int = Field(default=16, ge=8, le=20)
    """2 to the power of this many hash buckets."""
    max_sentences: int = 10_000
    """Most sentences of the corpus for one language."""
    crop_share: float = Field(default=0.8, ge=0, le=1)
    """Share of training texts cut down to a few words, so that short texts are known too."""
    crop: tuple[int, int] = (3, 60)
    """Characters of what is left of a text that is cut down: as often 3 to 6 as 30 to 60."""
    epochs: int = 10
    penalty: float = 1e-7
    """Weight of the squared norm of the weights in the loss."""
    seed: int = 1


class Score(Frozen):
    """How often the identifier is right on the texts of one language."""

    language: str
    texts: int
    accuracy: float
    mean_probability: float
    """Mean probability of the answers given; equal to the accuracy where the probabilities are
    calibrated."""
    confused_with: str
    """The language most often named instead, empty where none was."""


class LangidCard(Frozen):
    """What the identifier learnt from and how well it does; written as card.json."""

    languages: tuple[str, ...]
    corpus_digest: str
    texts: Mapping[str, int]
    """Training texts by language."""
    temperature: float
    dev: tuple[Score, ...]
    test: tuple[Score, ...]
    config: Mapping[str, object]

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """One line per language: dev and test accuracy, and what it is taken for."""
        tests = {score.language: score for score in self.test}
        lines = ["language  train   dev accuracy (texts)   test accuracy (texts)  taken for"]
        for score in self.dev:
            other = tests[score.language]
            lines.append(
                f"{score.language:8}  {self.texts[score.language]:6}"
                f"  {score.accuracy:8.4f} ({score.texts:5})  {other.accuracy:12.4f}"
                f" ({other.texts:5})        {other.confused_with}"
            )
        for name, scores in (("dev", self.dev), ("test", self.test)):
            mean = float(np.mean([score.accuracy for score in scores]))
            lines.append(f"mean over languages, {name}: {mean:.4f}")
        return "\n".join(lines)


def fit_langid(config: LangidConfig) -> LangidCard:
    """Fits, calibrates on dev, scores on dev and test, writes weights and card.

    Raises:
        DataError: a source or a split of the corpus that cannot be read.
    """
    languages = corpus_languages(config.corpus)
    examples = {split: gather(config, languages, split) for split in SPLITS}
    train = crop(examples["train"], config)
    weights, bias = fit_weights(train, languages, config)
    # Short and long texts alike, or the probabilities of short ones would be too sure.
    dev = crop(examples["dev"], config)
    temperature = fit_temperature(LanguageIdentifier(languages, weights, bias), dev)
    save_weights(languages, weights / temperature, bias / temperature, config.output)
    identifier = LanguageIdentifier.load(config.output)
    card = LangidCard(
        languages=tuple(languages),
        corpus_digest=corpus_digest(config.corpus),
        texts={tag: sum(label == tag for _, label in train) for tag in languages},
        temperature=temperature,
        dev=score(identifier, examples["dev"]),
        test=score(identifier, examples["test"]),
        config=config.model_dump(mode="json", exclude={"sources"}),
    )
    (config.output / "card.json").write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card


def save_weights(
    languages: Sequence[str],
    weights: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
    folder: Path,
) -> None:
    """Writes the two files that ``LanguageIdentifier.load`` reads, weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        # safetensors writes memory as it lies, so the transposed view needs a copy in row order.
        "weights": np.ascontiguousarray(weights, dtype=np.float16),
        "bias": bias.astype(np.float32),
    }
    save_file(tensors, folder / "langid.safetensors")
    head = {"format": FORMAT, "languages": languages}
    (folder / "langid.json").write_text(json.dumps(head) + "\n", "utf-8")


def gather(config: LangidConfig, languages: Sequence[str], split: Split) -> Examples:
    """Corpus text of a split where there is some, sampled, and the sources declared for it."""
    generator = random.Random(config.seed)
    examples: Examples = []
    for tag in languages:
        if not (config.corpus / text_file(tag, split)).is_file():
            continue
        lines = read_text(config.corpus, tag, split)
        chosen = generator.sample(lines, min(len(lines), config.max_sentences))
        examples += [(line, tag) for line in chosen]
    declared = [source for source in config.sources if source.split == split]
    examples += [(row.texts[0], row.label) for row in read_sources(declared, config.seed)]
    return [(text, tag) for text, tag in examples if tag in set(languages)]


def crop(examples: Examples, config: LangidConfig) -> Examples:
    """Cuts a share of the texts to a few characters, at words where there are any."""
    generator = random.Random(config.seed)
    shortest, longest = map(math.log, config.crop)
    cropped = []
    for text, tag in examples:
        if generator.random() < config.crop_share:
            size = round(math.exp(generator.uniform(shortest, longest)))
            cropped.append((window(text, size, generator), tag))
        else:
            cropped.append((text, tag))
    return cropped


def window(text: str, size: int, generator: random.Random) -> str:
    """The words of a random place that fit into a number of characters.

    A first word that is longer is cut; so is a text that has no spaces between its words.
    """
    words = text.split()
    if len(text) > LONGEST_WORD * len(words):
        start = generator.randrange(max(1, len(text) - size))
        return text[start : start + size]
    first = generator.randrange(len(words))
    piece = words[first][:size]
    for word in words[first + 1 :]:
        if len(piece) + 1 + len(word) > size:
            break
        piece += f" {word}"
    return piece


def features(texts: Sequence[str], bits: int) -> csr_matrix:
    """Bucket counts over the root of the number of n-grams: a row per text, 2**bits columns."""
    buckets = [ngram_buckets(text, bits) for text in texts]
    counts = np.array([len(row) for row in buckets])
    ends = np.concatenate([[0], np.cumsum(counts)])
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    columns = np.concatenate(buckets).astype(np.int32)
    matrix = csr_matrix((values, columns, ends), shape=(len(texts), 2**bits))
    matrix.sum_duplicates()
    return matrix


def fit_weights(
    examples: Examples, languages: Sequence[str], config: LangidConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights ``[2**bits, languages]`` and bias ``[languages]``; rare languages count as much."""
    classifier = SGDClassifier(
        loss="log_loss",
        alpha=config.penalty,
        max_iter=config.epochs,
        tol=None,
        average=True,
        class_weight="balanced",
        random_state=config.seed,
    )
    labels = [languages.index(tag) for _, tag in examples]
    classifier.fit(features([text for text, _ in examples], config.bits), labels)
    return classifier.coef_.T, classifier.intercept_


def fit_temperature(identifier: LanguageIdentifier, examples: Examples) -> float:
    """The divisor of the logits with the least cross-entropy on dev, each language weighing one."""
    logits = np.stack([identifier.logits(text) for text, _ in examples])  # [N, languages]
    gold = np.array([identifier.languages.index(tag) for _, tag in examples])
    weights = 1 / np.bincount(gold, minlength=len(identifier.languages))[gold]

    def cross_entropy(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        losses = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(gold)), gold]
        return float((weights * losses).sum())

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-4, 4), method="bounded").x))


def score(identifier: LanguageIdentifier, examples: Examples) -> tuple[Score, ...]:
    """One score per language."""
    guesses = identifier.predict([text for text, _ in examples])
    scores = []
    for language in identifier.languages:
        own = [guess for guess, (_, tag) in zip(guesses, examples, strict=True) if tag == language]
        wrong = [tag for tag, _ in own if tag != language]
        scores.append(
            Score(
                language=language,
                texts=len(own),
                accuracy=1 - len(wrong) / max(1, len(own)),
                mean_probability=float(np.mean([sure for _, sure in own])) if own else 0.0,
                confused_with=max(sorted(set(wrong)), key=wrong.count, default=""),
            )
        )
    return tuple(scores)
