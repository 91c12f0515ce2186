"""The differences of a study: each arm against its reference, tested as a family."""

import numpy as np

from langmod.config import Frozen
from training.studies.definition import Compared
from training.studies.dominance import almost_stochastic_order
from training.studies.result import StudyResult
from training.studies.significance import (
    Permutation,
    cliffs_delta,
    hedges_g,
    holm,
    permutation_test,
)


class Difference(Frozen):
    """One arm against its reference in one metric and language."""

    arm: str
    reference: str
    metric: str
    language: str
    runs: int
    """Runs of the arm, or pairs where the test is paired."""
    mean: float
    deviation: float
    """Sample deviation over the runs."""
    median: float
    difference: float
    """Difference of the means, arm less reference."""
    p: float
    p_holm: float
    smallest_p: float
    """The least that so many runs can give, before the correction."""
    paired: bool
    exact: bool
    aso: float
    """eps_min of arm better than reference."""
    aso_reverse: float
    """eps_min of reference better than arm."""
    delta: float
    """Cliff's, above 0 where the arm's values are higher."""
    g: float | None
    """Hedges'."""
    verdict: str


def family(result: StudyResult, metric: Compared) -> list[Difference]:
    """Every comparison in every language of one metric: the family that Holm corrects for.

    Two arms without chance have a run each, which is no sample: they are not in it.
    """
    seeded = {run.arm for run in result.runs if run.seed is not None}
    cases = [
        (arm, reference, language)
        for language in result.languages(metric.name)
        for arm, reference in result.comparisons
        if {arm, reference} & seeded
        and result.values(arm, metric.name, language)
        and result.values(reference, metric.name, language)
    ]
    samples = [paired_values(result, metric.name, case) for case in cases]
    tests = [permutation_test(*sample) for sample in samples]
    corrected = holm([test.p for test in tests])
    return [
        _difference((result, metric), case, sample, (test, p_holm, len(cases)))
        for case, sample, test, p_holm in zip(cases, samples, tests, corrected, strict=True)
    ]


def paired_values(
    result: StudyResult, metric: str, case: tuple[str, str, str]
) -> tuple[list[float], list[float], bool]:
    """Scores of arm and reference, and whether they are pairs of one seed.

    An arm in which nothing is random has one score, the same for every seed: no runs that could
    change places with others', but what the differences of the other arm's runs are taken from.
    """
    arm, reference, language = case
    ours, theirs = (result.values(each, metric, language) for each in (arm, reference))
    common = sorted(ours.keys() & theirs.keys())
    fixed = any(run.seed is None and run.arm in {arm, reference} for run in result.runs)
    if common and (result.paired or fixed):
        return [ours[seed] for seed in common], [theirs[seed] for seed in common], True
    return list(ours.values()), list(theirs.values()), False


def _difference(
    study: tuple[StudyResult, Compared],
    case: tuple[str, str, str],
    sample: tuple[list[float], list[float], bool],
    tested: tuple[Permutation, float, int],
) -> Difference:
    (result, metric), (arm, reference, language) = study, case
    (ours, theirs, paired), (test, p_holm, count) = sample, tested
    sign = 1.0 if metric.better == "higher" else -1.0
    good, other = np.multiply(ours, sign), np.multiply(theirs, sign)
    confidence = 1 - result.alpha / count
    difference = float(np.mean(ours) - np.mean(theirs))
    return Difference(
        arm=arm,
        reference=reference,
        metric=metric.name,
        language=language,
        runs=len(ours),
        mean=float(np.mean(ours)),
        deviation=float(np.std(ours, ddof=1)) if len(ours) > 1 else 0.0,
        median=float(np.median(ours)),
        difference=difference,
        p=test.p,
        p_holm=p_holm,
        smallest_p=test.smallest,
        paired=paired,
        exact=test.exact,
        aso=almost_stochastic_order(good, other, confidence),
        aso_reverse=almost_stochastic_order(other, good, confidence),
        delta=cliffs_delta(ours, theirs),
        g=hedges_g(ours, theirs),
        verdict=verdict(sign * difference, (test, p_holm), result.alpha, count),
    )


def verdict(gain: float, tested: tuple[Permutation, float], alpha: float, count: int) -> str:
    """Says what was found; ``gain`` > 0: the arm is better, ``count``: size of the family."""
    test, p_holm = tested
    side = "better" if gain > 0 else "worse"
    if gain and p_holm <= alpha:
        return side
    if test.smallest * count > alpha:
        extreme = "always" if test.p <= test.smallest and gain else "on average"
        tendency = f"{side} {extreme}" if gain else "equal"
        return f"{tendency}; too few runs for p ≤ {alpha:g}"
    return "no difference shown"
