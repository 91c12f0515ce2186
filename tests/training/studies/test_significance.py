"""Statistics against closed forms and numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from langmod.errors import ConfigError
from training.evaluation.translations import Translations
from training.studies.dominance import almost_stochastic_order, violation_ratio
from training.studies.sentence_tests import sentence_tests
from training.studies.significance import (
    EXACT_LIMIT,
    cliffs_delta,
    hedges_g,
    holm,
    permutation_test,
)


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        # All five differences have one sign: 2 of the 32 ways of turning signs are as far off.
        ([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], 2 / 32),
        # Sums of ±1 ±2 ±4: 7 is the farthest, 5 and -5 come next.
        ([1, 2, 4], [0, 0, 0], 2 / 8),
        ([-1, 2, 4], [0, 0, 0], 4 / 8),
        ([1, -1], [0, 0], 1.0),
        ([3, 3], [3, 3], 1.0),
    ],
)
def test_paired_permutations_by_hand(ours, theirs, p):
    found = permutation_test(ours, theirs, paired=True)
    assert found.p == pytest.approx(p)
    assert found.smallest == pytest.approx(2 / 2 ** len(ours))
    assert found.exact


def test_unpaired_permutations_by_hand():
    apart = permutation_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], paired=False)
    assert apart.p == pytest.approx(2 / math.comb(10, 5))
    assert apart.smallest == apart.p
    # Of the six ways to choose two of 1, 2, 3, 4 the sums 3 | 4 | 5 | 5 | 6 | 7: 4 is second.
    assert permutation_test([1, 3], [2, 4], paired=False).p == pytest.approx(4 / 6)
    assert permutation_test([1, 2], [2, 4, 9], paired=False).smallest == pytest.approx(2 / 10)


def test_many_runs_are_enumerated():
    found = permutation_test(range(8), range(8, 16), paired=False)
    assert found.exact
    assert found.p == pytest.approx(2 / math.comb(16, 8))
    assert math.comb(20, 10) < EXACT_LIMIT, "ten runs against ten, too"


def test_what_is_too_much_to_enumerate_says_so():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.8, 1, 25), rng.normal(0, 1, 25)
    found = permutation_test(ours, theirs, paired=True)
    assert not found.exact
    assert found.p == permutation_test(ours, theirs, paired=True).p, "seeded"
    # With so many runs the test comes near Student's.
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=0.25)


def test_holm_by_hand():
    """Holm 1979: the least times the family's size, the next times one less; never falls."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])
    assert holm([]) == []


def test_effect_sizes_by_hand():
    # Nine pairs: seven won, one lost, one equal.
    assert cliffs_delta([1, 2, 3], [0, 0, 2]) == pytest.approx(6 / 9)
    assert cliffs_delta([0, 0, 2], [1, 2, 3]) == pytest.approx(-6 / 9)
    assert cliffs_delta([5, 5], [5, 5]) == 0
    # Means 2 and 2/3, squares 2 and 8/3 over 4: (4/3) / sqrt(7/6); J(4) = sqrt(2/pi).
    expected = (4 / 3) / math.sqrt(7 / 6) * math.sqrt(2 / math.pi)
    assert hedges_g([1, 2, 3], [0, 0, 2]) == pytest.approx(expected)
    assert hedges_g([1], [2]) is None
    assert hedges_g([1, 1], [2, 2]) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio"),
    [
        ([1, 2, 3], [0, 1, 2], 0.0),
        ([1], [2, 3, 4], 1.0),
        # Half the quantiles lie 1 above, half 1 below.
        ([1, 2], [0, 3], 0.5),
        # Below by 1 on one half, above by 2 on the other: 1 / (1 + 4).
        ([0, 3], [1], 0.2),
        # In sixths 1 1 2 2 4 4 against 0 0 0 4 4 4: above by 1, 1, 2, below by 2.
        ([1, 2, 4], [0, 4], 4 / 10),
        ([7, 7], [7, 7], 0.5),
    ],
)
def test_violation_ratios_by_hand(ours, theirs, ratio):
    assert violation_ratio(ours, theirs) == pytest.approx(ratio)
    assert violation_ratio(theirs, ours) == pytest.approx(1 - ratio)


def test_the_violation_ratio_nears_that_of_two_normal_laws():
    ours, theirs = stats.norm(0.5, 2.0), stats.norm(0.0, 1.0)

    def square(t):
        return (ours.ppf(t) - theirs.ppf(t)) ** 2

    # ours - theirs = 0.5 + z: below 0 where z < -0.5. The whole is 0.25 + 1.
    part, _ = integrate.quad(square, 0, stats.norm.cdf(-0.5))
    grid = (np.arange(20_000) + 0.5) / 20_000
    found = violation_ratio(ours.ppf(grid), theirs.ppf(grid))
    assert found == pytest.approx(part / 1.25, rel=2e-3)
    assert 0.1 < found < 0.3


def test_the_bound_lies_above_the_ratio_and_falls_with_runs():
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0.5, 1, 200), rng.normal(0.0, 1, 200)
    few = almost_stochastic_order(ours[:5], theirs[:5])
    many = almost_stochastic_order(ours, theirs)
    assert violation_ratio(ours, theirs) < many < few
    assert many < 0.5
    assert almost_stochastic_order(theirs, ours) == 1.0
    # The bound with confidence one half is the ratio itself: the median of a normal law is 0.
    half = almost_stochastic_order(ours, theirs, 0.5)
    assert half == pytest.approx(violation_ratio(ours, theirs))
    assert almost_stochastic_order(ours, theirs, 0.99) > many
    assert almost_stochastic_order([1, 2, 3], [0, 0, 0]) == 0.0
    assert almost_stochastic_order([1, 1], [1, 1]) == 0.5


def translations(kept, **changes):
    """Fifty sentences of which every ``kept``-th is spoilt."""
    references = [f"the {n} horses drink from river number {n * 7} today" for n in range(50)]
    values = {
        "direction": "mn-en",
        "origin": "book",
        "data": "d",
        "references": references,
        "hypotheses": ["no idea" if n % kept == 0 else text for n, text in enumerate(references)],
    }
    return Translations.model_validate(values | changes)


def test_sentences_tell_a_bad_system_from_a_good_one():
    good, bad = translations(10), translations(2)
    found = {test.metric: test for test in sentence_tests(bad, good, 200)}
    assert found.keys() == {"chrf++", "bleu"}
    for test in found.values():
        assert test.score < test.reference
        # 1 / (trials + 1) is the least that 200 trials can show.
        assert test.randomisation == pytest.approx(1 / 201)
        assert test.bootstrap == pytest.approx(1 / 201)
        assert "ar:200" in test.signature
    assert all(test.randomisation > 0.5 for test in sentence_tests(good, translations(9), 200))


def test_equal_translations_differ_in_nothing():
    """sacrebleu itself gives 1 / (trials + 1) here."""
    good = translations(10)
    assert {test.randomisation for test in sentence_tests(good, good, 50)} == {1.0}
    assert {test.bootstrap for test in sentence_tests(good, good, 50)} == {1.0}


def test_other_sentences_are_not_compared():
    with pytest.raises(ConfigError, match=r"mn-en book: not the same sentences"):
        sentence_tests(translations(2), translations(2, data="e"), 10)
