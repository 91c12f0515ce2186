"""``training ngram``: n-grams over a base's own tokens, the floor under every neural model.

Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999, section 3.3), as KenLM has it
(Heafield et al. 2013). A left-to-right model: it sees less than a pseudo-likelihood, which knows
both sides, so its bits per byte are a floor and no rival.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from adaptation.bases import load_spec, resolve_base
from langmod.config import Frozen, RunConfig
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import Metric, write_scores
from training.data.corpus import read_text
from training.scoring.score import SEED, Sample, read_sentence, texts_digest

Keys = NDArray[np.int64]
"""n-grams as numbers in base ``vocabulary + 1``."""
FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where a text is too small to estimate them, those of KenLM's --discount_fallback."""


class NgramConfig(RunConfig):
    """One run of ``training ngram``."""

    base: str
    """Whose vocabulary is counted."""
    corpus: Path
    languages: tuple[str, ...]
    order: int = Field(default=4, ge=2)
    split: Literal["dev", "test"] = "test"
    sentences: int = 100
    """Most sentences of each language that are scored."""
    out: Path


class NgramScores(Frozen):
    """What was measured."""

    metrics: tuple[Metric, ...]

    def __str__(self) -> str:
        return "\n".join(f"{m.name} {m.language}: {m.value:.4f}" for m in self.metrics)


@dataclass(frozen=True)
class Order:
    """What is counted of the n-grams of one length."""

    grams: Keys
    """``[G]`` sorted."""
    counts: NDArray[np.int64]
    """``[G]`` at the highest order how often; below, after how many different tokens."""
    contexts: Keys
    """``[C]`` the n-grams without their last token, sorted."""
    totals: NDArray[np.int64]
    """``[C]`` sum of the counts after a context."""
    discounts: NDArray[np.float64]
    """``[4]`` taken off counts of 0, 1, 2, and 3 or more."""
    saved: NDArray[np.float64]
    """``[C]`` what the discounts took from a context, as a share: the lower order's weight."""


class NgramModel:
    """P(token | the tokens before it)."""

    def __init__(self, sentences: Sequence[Sequence[int]], order: int, vocabulary: int) -> None:
        """Counts sentences of token ids below ``vocabulary``; an end is a token, too.

        Raises:
            ConfigError: n-grams of this order do not fit into 63 bits.
        """
        self.order, self.base = order, vocabulary + 1
        if self.base**order >= 2**63:
            raise ConfigError(f"order {order} over {vocabulary} tokens is too much; lower it")
        self.outcomes = vocabulary
        """What may follow: every token, the end among them."""
        grams = np.concatenate([self._grams([*ids, self._end]) for ids in sentences])
        self.orders: list[Order] = []
        keys, counts = np.unique(grams, return_counts=True)
        for size in range(order, 0, -1):
            self.orders.insert(0, self._count(keys, counts))
            # One lower: how many different tokens stand in front.
            keys, counts = np.unique(keys % self.base ** (size - 1), return_counts=True)

    @property
    def _start(self) -> int:
        return self.base - 1

    @property
    def _end(self) -> int:
        return 0

    def _grams(self, ids: Sequence[int]) -> Keys:
        """The n-gram that ends at each token ``[T]``, starts filled up."""
        padded = np.array([self._start] * (self.order - 1) + list(ids), np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.order)  # [T, order]
        powers = self.base ** np.arange(self.order - 1, -1, -1, dtype=np.int64)
        keys: Keys = windows @ powers
        return keys

    def _count(self, grams: Keys, counts: NDArray[np.int64]) -> Order:
        discounts = modified_discounts(counts)
        contexts, places = np.unique(grams // self.base, return_inverse=True)
        taken = discounts[np.minimum(counts, 3)]
        totals = np.bincount(places, counts).astype(np.int64)
        return Order(
            grams, counts, contexts, totals, discounts, np.bincount(places, taken) / totals
        )

    def probabilities(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """``[T]`` of each token after those before it in its sentence."""
        full = self._grams(ids)  # [T]
        found = np.full(len(full), 1 / self.outcomes)
        for size, order in enumerate(self.orders, 1):
            grams = full % self.base**size
            counts, at = looked_up(order.grams, order.counts, grams)
            totals, where = looked_up(order.contexts, order.totals, grams // self.base)
            own = np.maximum(counts - order.discounts[np.minimum(counts, 3)], 0.0)
            own = np.where(at & where, own, 0.0) / np.maximum(totals, 1)
            saved, _ = looked_up(order.contexts, order.saved, grams // self.base)
            found = np.where(where, own + saved * found, found)
        return found


def looked_up(
    keys: Keys, values: NDArray[Any], wanted: Keys
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The values of keys ``[N]``, zero where they are unknown, and which are known."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    known = keys[places] == wanted
    return np.where(known, values[places], 0), known


def modified_discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[4]`` what is taken off a count of 0, 1, 2, 3 or more (Chen and Goodman 1999, eq. 26)."""
    once, twice, thrice, four = (int((counts == number).sum()) for number in (1, 2, 3, 4))
    if not once or not twice or not thrice:
        return np.array([0.0, *FALLBACK])
    y = once / (once + 2 * twice)
    found = [1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice]
    if any(not 0 < each <= number for number, each in enumerate(found, 1)):
        return np.array([0.0, *FALLBACK])
    return np.array([0.0, *found])


def score_ngrams(config: NgramConfig) -> NgramScores:
    """Counts each language's training text, scores the split, writes ``scores.json``.

    Raises:
        ConfigError: the base is not described, or the order is too high for it.
        DataError: the corpus lacks a language.
    """
    folder = resolve_base(config.base)
    encoder = TextEncoder(folder / "tokenizer.json", load_spec(folder))
    metrics = [m for tag in config.languages for m in _metrics(config, encoder, canonical(tag))]
    config.out.mkdir(parents=True, exist_ok=True)
    write_scores(config.out, metrics)
    return NgramScores(metrics=tuple(metrics))


def _metrics(config: NgramConfig, encoder: TextEncoder, tag: str) -> list[Metric]:
    train = [read_sentence(t, encoder).ids for t in read_text(config.corpus, tag, "train")]
    model = NgramModel(train, config.order, encoder.vocabulary)
    sample = Sample(corpus=config.corpus, split=config.split, sentences=config.sentences)
    texts = sample.draw(read_text(config.corpus, tag, config.split))
    read = [read_sentence(text, encoder) for text in texts]
    scored = np.concatenate([model.probabilities(each.ids) for each in read])  # [tokens]
    nats = -float(np.log(scored).sum())
    text_bytes = sum(len(each.text.encode()) for each in read)
    signature = f"{config.order}-gram|modified Kneser-Ney|left to right, ends not scored"
    values = {
        "perplexity": math.exp(nats / len(scored)),
        "bits_per_byte": nats / math.log(2) / text_bytes,
    }
    return [
        Metric(
            name=name,
            value=value,
            split=config.split,
            language=tag,
            signature=f"{signature}|sentences:{len(texts)}|seed:{SEED}",
            data=texts_digest(texts),
        )
        for name, value in values.items()
    ]
