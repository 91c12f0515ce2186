"""Word vectors before the first step: PPMI of neighbouring tokens, factorised.

Levy and Goldberg 2014 (Neural Word Embedding as Implicit Matrix Factorization). A masked model that
starts from them need not find out by gradients which tokens are alike, which is what the first
thousands of steps of a small run are spent on.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

WINDOW = 4
CONTEXT_POWER = 0.75
"""Smooths the frequency of contexts, as word2vec does."""
SHIFT = 1.0
"""Taken from every PMI (log k of negative sampling)."""


def cooccurrence(blocks: Iterable[NDArray[np.int32]], vocabulary: int, first: int) -> csr_matrix:
    """Symmetric counts ``[V, V]`` of tokens at most ``WINDOW`` apart, nearer ones weighing more.

    ``blocks`` are arrays ``[N, T]``; ids below ``first`` (special tokens) do not count.
    """
    total = csr_matrix((vocabulary, vocabulary), dtype=np.float32)
    for rows in blocks:
        for distance in range(1, WINDOW + 1):
            left, right = rows[:, :-distance].ravel(), rows[:, distance:].ravel()
            kept = (left >= first) & (right >= first)
            weights = np.full(int(kept.sum()), 1.0 / distance, np.float32)
            found = coo_matrix((weights, (left[kept], right[kept])), shape=total.shape)
            total = total + found.tocsr()
    return total + total.T


def positive_pmi(counts: csr_matrix) -> csr_matrix:
    """Shifted positive pointwise mutual information of counts."""
    rows = np.asarray(counts.sum(1)).ravel()
    contexts = rows**CONTEXT_POWER
    cells = counts.tocoo()
    expected = rows[cells.row] * contexts[cells.col] / max(contexts.sum(), 1e-9)
    values = np.log(np.maximum(cells.data, 1e-9) / np.maximum(expected, 1e-9)) - np.log(SHIFT)
    kept = values > 0
    return csr_matrix((values[kept], (cells.row[kept], cells.col[kept])), shape=counts.shape)


def token_vectors(
    blocks: Mapping[str, NDArray[np.int32]], vocabulary: int, width: int, first: int, seed: int
) -> NDArray[np.float32]:
    """Vectors ``[V, D]`` of root mean square 1; rows of tokens never seen are random."""
    from sklearn.utils.extmath import randomized_svd

    matrix = positive_pmi(cooccurrence(blocks.values(), vocabulary, first))
    left, values, _ = randomized_svd(matrix, width, n_iter=2, random_state=seed)
    vectors = left * np.sqrt(values)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    drawn = np.random.default_rng(seed).normal(size=vectors.shape)
    found = np.where(lengths > 1e-6, vectors / np.maximum(lengths, 1e-6), drawn / width**0.5)
    return (found * width**0.5).astype(np.float32)
