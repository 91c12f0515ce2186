"""Kneser-Ney by hand, as a probability, and end to end."""

import math

import numpy as np
import pytest

from langmod.errors import ConfigError
from tests.bases import make_base
from training.evaluation.ngram import NgramConfig, NgramModel, modified_discounts, score_ngrams

A, B, C = 1, 2, 3
VOCABULARY = 4
"""The end and three tokens."""


def test_bigrams_by_hand():
    """The text ``a b | a c``, too small for discounts of its own: 0.5 and 1 of one and two.

    Bigrams: start-a 2, a-b 1, a-c 1, b-end 1, c-end 1. Lower counts, of what stands in front: a, b
    and c one, end two.
    """
    model = NgramModel([[A, B], [A, C]], 2, VOCABULARY)
    # Unigrams: five in all; 0.5 taken of a, b and c, 1 of end: 2.5 / 5 shared by four outcomes.
    base = 0.5 / 4
    one = {A: 0.5 / 5 + base, B: 0.5 / 5 + base, C: 0.5 / 5 + base, 0: 1 / 5 + base}
    # After a start 2 of a, 1 taken; after a 1 of b, 0.5 taken of it and of c.
    expected = [1 / 2 + 1 / 2 * one[A], 0.5 / 2 + 1 / 2 * one[B]]
    assert model.probabilities([A, B]) == pytest.approx(expected)
    # After b 1 of end, 0.5 taken.
    assert model.probabilities([A, B, 0])[2] == pytest.approx(0.5 + 0.5 * one[0])
    # Not seen after b: what was taken there. Nothing seen after the end: the unigram itself.
    assert model.probabilities([A, B, C])[2] == pytest.approx(0.5 * one[C])
    assert model.probabilities([0, C])[1] == pytest.approx(one[C])


def test_discounts_by_hand():
    counts = np.array([1] * 10 + [2] * 4 + [3] * 2 + [4] * 1 + [9])
    y = 10 / 18
    found = modified_discounts(counts)
    assert found == pytest.approx([0, 1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2])
    assert list(modified_discounts(np.array([1, 1, 2]))) == [0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("order", [2, 3, 4])
def test_what_may_follow_sums_to_one(order):
    rng = np.random.default_rng(order)
    text = [rng.integers(1, 12, size=rng.integers(3, 9)).tolist() for _ in range(300)]
    model = NgramModel(text, order, 12)
    for context in ([], [1], [2, 3], text[0][:4], [11, 11, 11, 11]):
        total = sum(model.probabilities([*context, token])[-1] for token in range(12))
        assert total == pytest.approx(1.0)


def test_longer_contexts_know_more_of_what_repeats():
    text = [[1, 2, 3, 4, 5, 6], [7, 2, 3, 8, 5, 9]] * 30
    likely = [NgramModel(text, order, 12).probabilities(text[0]).min() for order in (2, 3, 4)]
    assert likely[0] < likely[1] < likely[2]


def test_an_order_too_high_is_refused():
    with pytest.raises(ConfigError, match=r"order 5 over 16000 tokens is too much"):
        NgramModel([[1]], 5, 16000)


def test_scores_of_a_corpus(small_corpus, tmp_path):
    make_base(tmp_path / "base", "encoder")
    values = {"base": str(tmp_path / "base"), "corpus": small_corpus, "languages": ["khk", "eng"]}
    config = NgramConfig.model_validate(values | {"sentences": 10, "out": tmp_path / "out"})
    found = {(m.name, m.language): m for m in score_ngrams(config).metrics}
    assert found.keys() == {(n, t) for n in ("perplexity", "bits_per_byte") for t in ("mn", "en")}
    assert 1 < found["perplexity", "mn"].value < 600
    signature = found["bits_per_byte", "mn"].signature
    assert signature.startswith("4-gram|modified Kneser-Ney|left to right")
    unigrams = math.log2(600)
    assert found["bits_per_byte", "mn"].value < unigrams
    assert (tmp_path / "out" / "scores.json").is_file()
