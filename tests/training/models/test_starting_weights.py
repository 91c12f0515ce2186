"""Word vectors and first weights of an encoder from scratch."""

import numpy as np
import pytest
import torch

from tests.adaptation.models import xlmr
from training.models.starting_weights import WORD_SCALE, informed_start
from training.models.static_vectors import WINDOW, cooccurrence, positive_pmi, token_vectors

FIRST = 5


def blocks(seed=0, rows=400):
    """Two topics of ten tokens each that never meet in one row."""
    generator = np.random.default_rng(seed)
    topics = generator.integers(0, 2, rows)[:, None] * 10
    return (generator.integers(0, 10, (rows, 12)) + topics + FIRST).astype(np.int32)


def test_counts_are_those_of_a_plain_loop():
    rows = blocks(rows=6)
    expected = np.zeros((40, 40))
    for row in rows:
        for i, left in enumerate(row):
            for j, right in enumerate(row):
                if 0 < abs(i - j) <= WINDOW:
                    expected[left, right] += 1 / abs(i - j)
    found = cooccurrence([rows], 40, FIRST).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_special_tokens_do_not_count():
    rows = blocks(rows=6)
    rows[:, ::2] = 1
    assert cooccurrence([rows], 40, FIRST)[:FIRST].nnz == 0


def test_tokens_of_one_topic_are_alike():
    vectors = token_vectors({"en": blocks(rows=3000)}, 40, 4, FIRST, seed=1)
    seen = vectors[FIRST : FIRST + 20]
    assert np.sqrt((seen**2).mean(1)) == pytest.approx(np.ones(20), rel=1e-4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = (unit @ unit.T)[FIRST : FIRST + 20, FIRST : FIRST + 20]
    assert alike[:10, :10].mean() > alike[:10, 10:].mean() + 0.5


def test_only_what_happens_more_than_by_chance_is_kept():
    assert (positive_pmi(cooccurrence([blocks()], 40, FIRST)).data > 0).all()


def test_an_informed_model_knows_frequencies_and_neighbours():
    rows = blocks(rows=2000)
    uninformed, informed = xlmr(), xlmr()
    informed_start(informed.model, {"en": rows}, FIRST, seed=1)
    ids = torch.from_numpy(blocks(seed=9, rows=50)).long()
    truth, hidden = ids[:, 5].clone(), ids.clone()
    hidden[:, 5] = 199

    def loss(base):
        with torch.no_grad():
            logits = base.model(input_ids=hidden).logits[:, 5]
        return float(torch.nn.functional.cross_entropy(logits, truth))

    assert loss(informed) < np.log(20) + 0.1 < loss(uninformed)
    words = informed.model.roberta.embeddings.word_embeddings.weight
    assert float(words.detach()[FIRST : FIRST + 20].pow(2).mean().sqrt()) == pytest.approx(
        WORD_SCALE, rel=0.1
    )
