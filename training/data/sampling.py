"""How many examples each language gives to a run: an exponent and a cap on epochs."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def draws_per_language(
    sizes: Mapping[str, int], total: int, exponent: float, epoch_cap: float
) -> dict[str, int]:
    """Number of examples to draw of each language, in proportion to ``size ** exponent``.

    Exponent 1 keeps the corpus' own mix, 0.3 is XLM-R's (Conneau et al. 2020). No language is
    repeated more than ``epoch_cap`` times (UniMax, Chung et al. 2023); what the cap takes away goes
    to the others, so fewer than ``total`` come out only when every language is at its cap.
    """
    capped = {language: int(min(total, size * epoch_cap)) for language, size in sizes.items()}
    drawn: dict[str, int] = {}
    open_languages = [language for language, size in sizes.items() if size]
    left = total
    while open_languages:
        weights = {language: sizes[language] ** exponent for language in open_languages}
        scale = left / sum(weights.values())
        full = {name for name in open_languages if weights[name] * scale >= capped[name]}
        if not full:
            drawn |= _whole({name: weight * scale for name, weight in weights.items()}, left)
            break
        drawn |= {name: capped[name] for name in full}
        left -= sum(capped[name] for name in full)
        open_languages = [name for name in open_languages if name not in full]
    return drawn


def _whole(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Shares as whole numbers that add up to the total: those with the largest rests get one more.

    Rounded one by one they may add up to another number, and a finished run would take a step more
    when it is run again.
    """
    found = {name: int(share) for name, share in shares.items()}
    by_rest = sorted(shares, key=lambda name: found[name] - shares[name])
    for name in by_rest[: total - sum(found.values())]:
        found[name] += 1
    return found


def draw(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` indices below ``size``: whole shuffled epochs first, then a part of one."""
    epochs = [rng.permutation(size) for _ in range(-(-count // size))] if count else []
    return np.concatenate(epochs)[:count] if epochs else np.empty(0, np.int64)
