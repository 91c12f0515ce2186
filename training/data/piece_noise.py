"""Noise over the pieces of a sentence, for translators that learn to rebuild it.

Pieces move a little, some go, some are masked: the noise of BART (Lewis et al. 2020) and of Lample
et al. 2018, on pieces instead of words, so that it needs no language's idea of a word.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from langmod.config import Frozen


class PieceNoise(Frozen):
    """How much noise a source gets."""

    mask: float = Field(default=0.2, ge=0, lt=1)
    """Chance of each piece to become the mask."""
    drop: float = Field(default=0.08, ge=0, lt=1)
    """Chance of each piece to go."""
    shuffle: float = Field(default=2.5, ge=0)
    """No piece moves as far as this many places."""


def noised_pieces(
    pieces: NDArray[np.int32], noise: PieceNoise, mask_id: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Ids ``[T]`` of a row with its first and last token in place and the others noised."""
    inner = pieces[1:-1]
    order = np.argsort(np.arange(len(inner)) + rng.uniform(0, noise.shuffle, len(inner)))
    inner = np.where(rng.random(len(inner)) < noise.mask, mask_id, inner[order])
    inner = inner[rng.random(len(inner)) >= noise.drop]
    return np.concatenate([pieces[:1], inner, pieces[-1:]]).astype(np.int32)
