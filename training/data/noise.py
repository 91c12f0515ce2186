"""Noise over the words of a sentence, for translators that learn to undo it.

Words move a little, some go, some are hidden: Lample et al. 2018 (unsupervised translation), with
the spans of BART (Lewis et al. 2020).
"""

import numpy as np
from pydantic import Field

from langmod.config import Frozen


class Noise(Frozen):
    """How much; the defaults are XLM's for unsupervised translation (Conneau and Lample 2019)."""

    shuffle: int = Field(default=3, ge=0)
    """No word moves further than this many places; 0 or 1: none moves."""
    drop: float = Field(default=0.1, ge=0, lt=1)
    """Chance of each word to go."""
    infill: float = Field(default=0.1, ge=0, lt=1)
    """Share of the words that are hidden, a whole span behind one mask."""
    span: float = Field(default=1.0, ge=1)
    """Mean words of a hidden span; BART's are 3."""


def noised(text: str, noise: Noise, mask: str, rng: np.random.Generator) -> str:
    """A sentence with its words moved, dropped and hidden behind ``mask``; never empty."""
    words = shuffled(text.split(" "), noise.shuffle, rng)
    kept = [word for word in words if rng.random() >= noise.drop] or words[:1]
    return " ".join(infilled(kept, noise, mask, rng))


def shuffled(words: list[str], most: int, rng: np.random.Generator) -> list[str]:
    """Words in an order in which none is further from its place than ``most``.

    Sorted by place plus a number below ``most``: a word can only pass those within that distance.
    """
    keys = np.arange(len(words)) + rng.uniform(0, most, len(words))
    return [words[place] for place in np.argsort(keys, kind="stable")]


def infilled(words: list[str], noise: Noise, mask: str, rng: np.random.Generator) -> list[str]:
    """Words of which spans, ``infill`` of all words on average, are one mask each."""
    starts = noise.infill / noise.span  # a span begins at so many of the words that stand open
    begin = starts / (1 - noise.infill + starts)
    found: list[str] = []
    place = 0
    while place < len(words):
        if rng.random() < begin:
            found.append(mask)
            place += 1 + int(rng.poisson(noise.span - 1))
        else:
            found.append(words[place])
            place += 1
    return found
