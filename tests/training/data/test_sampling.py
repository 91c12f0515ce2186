"""How many examples each language gives: as many in all as were asked for, whatever the order."""

from hypothesis import given
from hypothesis import strategies as st

from training.data.sampling import draws_per_language

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1)


@given(SIZES, st.integers(1, 400), st.sampled_from([0.0, 0.3, 1.0]))
def test_draws_add_up_to_the_total(sizes, total, exponent):
    draws = draws_per_language(sizes, total, exponent, 1000)
    assert sum(draws.values()) == total


def test_equal_halves_are_not_both_rounded_up():
    assert sorted(draws_per_language({"a": 5, "b": 5, "c": 5}, 5, 0.3, 4).values()) == [1, 2, 2]


def test_shares_follow_the_exponent_up_to_the_cap():
    sizes = {"large": 100, "small": 1}
    assert draws_per_language(sizes, 101, 1.0, 4) == {"large": 100, "small": 1}
    assert draws_per_language(sizes, 50, 0.0, 4) == {"small": 4, "large": 46}
    assert draws_per_language({"small": 1, "none": 0}, 50, 1.0, 4) == {"small": 4}
