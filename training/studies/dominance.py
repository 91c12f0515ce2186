"""Almost Stochastic Order: is one arm better than another but for a small part of its runs?

del Barrio, Cuesta-Albertos and Matrán 2018 (An optimal transportation approach for assessing
almost stochastic order); Dror, Shlomov and Reichart 2019 (Deep Dominance, ACL P19-1266).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

BOOTSTRAPS = 1000
SEED = 1
Sample = Sequence[float] | NDArray[np.float64]


def violation_ratio(ours: Sample, theirs: Sample) -> float:
    """eps_W2 of "ours is stochastically larger than theirs": 0 where it is everywhere, 1 nowhere.

    The part of the squared Wasserstein distance that comes from where our quantile function lies
    below theirs. Quantile functions of samples are steps, so the integrals are exact sums. 0.5 for
    equal samples, of which neither is larger: the ratio and its reverse always sum to 1.
    """
    first, second = np.sort(ours), np.sort(theirs)
    n, m = len(first), len(second)
    # In units of 1 / (n m), in which every step ends at a whole number.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # [steps]
    widths = np.diff(ends, prepend=0)
    gaps = first[(ends - 1) // m] - second[(ends - 1) // n]  # [steps]
    squares = widths * gaps**2
    distance = float(squares.sum())
    return float(squares[gaps < 0].sum()) / distance if distance > 0 else 0.5


def almost_stochastic_order(ours: Sample, theirs: Sample, confidence: float = 0.95) -> float:
    """eps_min: the violation ratio lies below this with so much confidence.

    Below 0.5 ours is almost stochastically larger; the lower, the clearer (Dror et al. take 0.5;
    0.2 errs less often with few runs). The variance is a seeded bootstrap's.
    """
    n, m = len(ours), len(theirs)
    rng = np.random.default_rng(SEED)
    ratio = violation_ratio(ours, theirs)
    drawn = [violation_ratio(rng.choice(ours, n), rng.choice(theirs, m)) for _ in range(BOOTSTRAPS)]
    scale = math.sqrt(n * m / (n + m))
    deviation = float(np.std(scale * (np.array(drawn) - ratio)))
    bound = ratio - deviation / scale * float(stats.norm.ppf(1 - confidence))
    return min(1.0, max(0.0, bound))
