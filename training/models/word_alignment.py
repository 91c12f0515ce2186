"""A dictionary of tokens from parallel text, and the rotation that lays one side on the other.

Mikolov et al. 2013 (arXiv 1309.4168) and Smith et al. 2017 (arXiv 1702.03859) align word vectors
so; here the vectors are those of a base's subwords, and the dictionary comes from its own corpus.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor, nn

from langmod.config import Frozen

Pairs = Sequence[tuple[list[int], list[int]]]
"""Token ids of sentences and their translations."""


class DictionarySettings(Frozen):
    """Rotation of each language's own word vectors onto the pivot's, before the first step."""

    least: int = 5
    """Sentence pairs in which both tokens of an entry must stand."""
    own: float = 0.9
    """Share of a token's occurrences that must be a language's, for the token to be its own."""


def token_dictionary(pairs: Pairs, sizes: tuple[int, int], least: int) -> NDArray[np.int64]:
    """Entries ``[E, 2]``: tokens that are each the other's best partner by Dice's coefficient.

    ``sizes`` are those of the two vocabularies; the entries share ``least`` pairs or more.
    """
    sides = [_presence([pair[side] for pair in pairs], sizes[side]) for side in (0, 1)]
    together = (sides[0].T @ sides[1]).tocoo()
    counts = [np.asarray(side.sum(0)).ravel() for side in sides]
    total = counts[0][together.row] + counts[1][together.col]
    enough = together.data >= least
    dice = coo_matrix(
        (
            (2 * together.data / total)[enough],
            (together.row[enough], together.col[enough]),
        ),
        shape=together.shape,
    ).tocsr()
    if not dice.nnz:
        return np.empty((0, 2), np.int64)
    best = np.asarray(dice.argmax(1)).ravel()
    back = np.asarray(dice.argmax(0)).ravel()
    left = np.flatnonzero(np.diff(dice.indptr))
    mutual = left[back[best[left]] == left]
    return np.stack([mutual, best[mutual]], 1)


def _presence(sentences: Sequence[list[int]], size: int) -> csr_matrix:
    """Whether a token ``[V]`` stands in a sentence ``[N]``."""
    rows = np.repeat(np.arange(len(sentences)), [len(each) for each in sentences])
    columns = np.concatenate([np.asarray(each, np.int64) for each in sentences])
    found = csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(len(sentences), size)
    )
    found.data[:] = 1.0
    return found


def rotation(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """The orthogonal ``[D, D]`` that brings rows ``[E, D]`` nearest to those of the target.

    Rows count by direction alone, as their lengths tell how frequent a token is.
    """
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (source, target)]
    unit = [
        each / np.maximum(length, 1e-9)
        for each, length in zip((source, target), lengths, strict=True)
    ]
    found, _ = orthogonal_procrustes(*unit)
    return found.astype(np.float32)


def own_tokens(counts: NDArray[np.int64], language: int, share: float) -> NDArray[np.int64]:
    """The tokens of which a language has this share; ``counts [K, V]`` of all languages."""
    total = counts.sum(0)
    return np.flatnonzero((total > 0) & (counts[language] >= share * total))


def align_words(table: nn.Embedding, own: NDArray[np.int64], entries: NDArray[np.int64]) -> float:
    """Rotates the rows of a language's own tokens by the entries ``[E, 2]`` (own, pivot's).

    Returns the mean cosine of the entries after it.
    """
    if not len(entries):
        return 0.0
    vectors = table.weight.data.float()  # [V, D]
    sides = [vectors[torch.from_numpy(entries[:, side])] for side in (0, 1)]
    turned = torch.from_numpy(rotation(sides[0].numpy(), sides[1].numpy()))  # [D, D]
    rows = torch.from_numpy(own)
    table.weight.data[rows] = vectors[rows] @ turned
    after: Tensor = nn.functional.cosine_similarity(sides[0] @ turned, sides[1])
    return float(after.mean())
