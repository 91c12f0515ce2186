"""Says which language a text is in: hashed character n-grams and one linear layer, numpy alone."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from langmod.errors import ConfigError

ORDERS = (1, 2, 3, 4)
MAX_CHARACTERS = 400
FORMAT = 1
SHORT = 2.0
"""How much less is believed of short texts: the temperature of N n-grams is 1 + SHORT / √N times
that of a long text, the best by cross-entropy for dev texts of 3 to 80 characters alike."""
# Odd constants of the golden ratio and of Knuth's linear generator: any would do, these are fixed.
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
INCREMENT = np.uint64(0xD1342543DE82EF95)


def ngram_buckets(text: str, bits: int) -> npt.NDArray[np.int64]:
    """The bucket of every character 1- to 4-gram of a lower-cased text, the same on any machine.

    Args:
        text: any length; what lies beyond 400 characters is not looked at.
        bits: 2 to the power of this many buckets.

    Returns:
        Bucket numbers, with repeats; empty for a text without characters. # [N]
    """
    words = " ".join(text[:MAX_CHARACTERS].lower().split())
    if not words:
        return np.zeros(0, dtype=np.int64)
    data = f" {words} ".encode("utf-32-le", "replace")
    points = np.frombuffer(data, dtype=np.uint32).astype(np.uint64)  # [C]
    grams = []
    hashes = np.zeros(len(points), dtype=np.uint64)  # [C]
    for order in ORDERS:
        count = len(points) - order + 1
        if count <= 0:
            break
        hashes = (hashes[:count] + points[order - 1 :] + INCREMENT) * MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
        grams.append(hashes)
    shift = np.uint64(64 - bits)
    return ((np.concatenate(grams) * MULTIPLIER) >> shift).astype(np.int64)  # [N]


class LanguageIdentifier:
    """A softmax over languages of the mean of bucket weights, as fastText does for words.

    After Joulin et al. 2017, Bag of tricks for efficient text classification.
    """

    def __init__(
        self,
        languages: Sequence[str],
        weights: npt.NDArray[np.floating],
        bias: npt.NDArray[np.floating],
    ) -> None:
        """Takes BCP-47 tags, weights ``[2**bits, languages]`` and bias ``[languages]``."""
        buckets = len(weights)
        if weights.shape != (buckets, len(languages)) or bias.shape != (len(languages),):
            raise ConfigError(
                f"language identifier: weights {weights.shape} and bias {bias.shape}"
                f" do not fit {len(languages)} languages"
            )
        if buckets < 2 or buckets & (buckets - 1):
            raise ConfigError(f"language identifier: {buckets} buckets are no power of two")
        self.languages = tuple(languages)
        self._weights = weights.astype(np.float32)
        self._bias = bias.astype(np.float32)

    @cached_property
    def bits(self) -> int:
        """The logarithm of the number of buckets."""
        return len(self._weights).bit_length() - 1

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads ``langid.json`` and ``langid.safetensors``.

        Raises:
            ConfigError: a file is missing, of another format, or the two do not fit together.
        """
        try:
            head = json.loads((folder / "langid.json").read_text("utf-8"))
            tensors = load_file(folder / "langid.safetensors")
            if head["format"] != FORMAT:
                raise ConfigError(f"{folder}: format {head['format']}, this reads {FORMAT}")
            return cls(head["languages"], tensors["weights"], tensors["bias"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ConfigError(f"{folder}: no language identifier: {error!r}") from error

    def logits(self, text: str) -> npt.NDArray[np.float32]:
        """Scores before the softmax, one per language."""
        buckets = ngram_buckets(text, self.bits)
        if not len(buckets):
            return self._bias  # [languages]
        total: npt.NDArray[np.float32] = self._weights[buckets].sum(axis=0)  # [languages]
        return total / np.float32(np.sqrt(len(buckets))) + self._bias  # [languages]

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest language of each text as a BCP-47 tag, and its probability."""
        return [self.rank(text)[0] for text in texts]

    def rank(
        self, text: str, weights: Mapping[str, float] | None = None
    ) -> list[tuple[str, float]]:
        """Languages with their probabilities, the likeliest first.

        Args:
            text: of any length.
            weights: how likely each language is before the text is read; those not named are not
                considered. None: all, equally.
        """
        chosen = list(range(len(self.languages)))
        if weights is not None:
            chosen = [place for place in chosen if weights.get(self.languages[place], 0) > 0]
        grams = max(1, len(ngram_buckets(text, self.bits)))
        logits = self.logits(text)[chosen].astype(np.float64) / (1 + SHORT / np.sqrt(grams))
        if weights is not None:
            logits += np.log([weights[self.languages[place]] for place in chosen])
        exponents = np.exp(logits - logits.max(initial=-np.inf))
        probabilities = exponents / exponents.sum()  # [chosen]
        order = np.argsort(-probabilities, kind="stable")
        return [(self.languages[chosen[at]], float(probabilities[at])) for at in order]
