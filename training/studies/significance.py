"""Whether two arms differ: exact permutation tests, Holm's correction, effect sizes.

Ranks and enumeration are scipy's; what scipy lacks is here and in ``dominance``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

EXACT_LIMIT = 1_000_000
"""Rearrangements up to which all are looked at; C(20, 10) is 184,756, signs of 19 pairs 524,288."""
RESAMPLES = 100_000
"""Drawn at random above that."""
SEED = 1


@dataclass(frozen=True)
class Permutation:
    """A two-sided permutation test of the difference of means."""

    p: float
    smallest: float
    """The least p that so many runs can give, however far apart they are."""
    exact: bool
    """Every rearrangement was looked at; otherwise ``RESAMPLES`` seeded ones."""


def permutation_test(ours: Sequence[float], theirs: Sequence[float], paired: bool) -> Permutation:
    """Tests that two arms do not differ.

    Paired: the signs of the differences may be turned, 2^n ways. Otherwise runs may change arms,
    C(n + m, n) ways (Fisher 1935; Pitman 1937). One of the ways is the one observed. An arm of a
    single run shows nothing.
    """
    if min(len(ours), len(theirs)) < 2:
        return Permutation(p=1.0, smallest=1.0, exact=True)
    if paired:
        ways, kind = 2 ** len(ours), "samples"
        samples: tuple[Sequence[float], ...] = (np.subtract(ours, theirs).tolist(),)
    else:
        ways, kind = math.comb(len(ours) + len(theirs), len(ours)), "independent"
        samples = (ours, theirs)
    exact = ways <= EXACT_LIMIT
    found = stats.permutation_test(
        samples,
        _mean if paired else _difference,
        permutation_type=kind,
        vectorized=True,
        n_resamples=math.inf if exact else RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    smallest = 2 / ways if exact else 2 / (RESAMPLES + 1)
    return Permutation(float(found.pvalue), min(1.0, smallest), exact)


def _mean(differences: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.mean(differences, axis=axis))


def _difference(ours: np.ndarray, theirs: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.mean(ours, axis=axis) - np.mean(theirs, axis=axis))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being a family (Holm 1979), in their own order."""
    order = np.argsort(p_values, kind="stable")
    family = len(p_values)
    scaled = [(family - rank) * p_values[place] for rank, place in enumerate(order)]
    corrected = np.minimum(np.maximum.accumulate(scaled), 1.0)
    found = np.empty(family)
    found[order] = corrected
    return [float(each) for each in found]


def cliffs_delta(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """P(ours > theirs) - P(ours < theirs), from -1 to 1 (Cliff 1993), by ranks."""
    n, m = len(ours), len(theirs)
    ranks = stats.rankdata([*ours, *theirs])  # [n + m]
    wins = float(ranks[:n].sum()) - n * (n + 1) / 2
    return 2 * wins / (n * m) - 1


def hedges_g(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Difference of means in pooled deviations, unbiased (Hedges 1981, eq. 6e).

    None where it has no meaning: a single run, or no spread at all.
    """
    freedom = len(ours) + len(theirs) - 2
    if min(len(ours), len(theirs)) < 2:
        return None
    squares = sum(float(np.var(each, ddof=1)) * (len(each) - 1) for each in (ours, theirs))
    spread = math.sqrt(squares / freedom)
    if spread == 0:
        return None
    shrink = math.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2))
    shrink /= math.sqrt(freedom / 2)
    return float(np.mean(ours) - np.mean(theirs)) / spread * shrink
