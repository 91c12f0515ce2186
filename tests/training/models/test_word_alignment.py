"""Dictionaries of tokens, rotations and starts of new vocabularies against closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from adaptation.word_vectors import Spelling, Transfer
from training.models.new_vocabulary import focus, sparsemax, spelt_alike
from training.models.word_alignment import align_words, own_tokens, rotation, token_dictionary


def test_entries_are_one_anothers_best_partners():
    pairs = [([5, 6], [2, 3]), ([5], [2, 4]), ([6, 7], [3, 4]), ([7, 5], [4, 2]), ([6], [3])]
    assert token_dictionary(pairs, (8, 5), 2).tolist() == [[5, 2], [6, 3], [7, 4]]
    assert token_dictionary(pairs, (8, 5), 3).tolist() == [[5, 2], [6, 3]]
    assert token_dictionary(pairs, (8, 5), 9).shape == (0, 2)


def turned(size: int, seed: int = 0):
    found, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return found.astype(np.float32)


def test_a_rotation_is_found_again_whatever_the_lengths():
    rng, truth = np.random.default_rng(1), turned(4)
    source = rng.normal(size=(20, 4)).astype(np.float32)
    target = source @ truth * rng.uniform(1, 3, (20, 1)).astype(np.float32)
    np.testing.assert_allclose(rotation(source, target), truth, atol=1e-5)


def test_a_token_is_a_languages_own_by_its_share():
    counts = np.array([[9, 5, 0, 0], [1, 5, 3, 0]])
    assert own_tokens(counts, 0, 0.9).tolist() == [0]
    assert own_tokens(counts, 1, 0.5).tolist() == [1, 2]


def test_own_rows_are_laid_on_their_partners_and_others_stay():
    torch.manual_seed(0)
    table, truth = nn.Embedding(9, 4), torch.from_numpy(turned(4))
    table.weight.data[:4] = table.weight.data[4:8] @ truth.T
    before = table.weight.detach().clone()
    entries = np.array([[0, 4], [1, 5], [2, 6], [3, 7]])
    cosine = align_words(table, np.arange(4), entries)
    assert cosine == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(table.weight[:4], before[4:8], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(table.weight[4:], before[4:])
    assert align_words(table, np.arange(4), np.empty((0, 2), np.int64)) == 0


def test_sparsemax_is_the_nearest_probability():
    """Martins and Astudillo 2016: in two dimensions the first is (t + 1) / 2 within 0 and 1."""
    gaps = np.linspace(-2, 2, 9, dtype=np.float32)
    found = sparsemax(np.stack([gaps, np.zeros_like(gaps)], 1))
    np.testing.assert_allclose(found[:, 0], np.clip((gaps + 1) / 2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    wide = sparsemax(np.array([[1.0, 0.9, -3.0]], np.float32))
    np.testing.assert_allclose(wide, [[0.55, 0.45, 0]], atol=1e-6)


def transfer(own: dict[str, int], base: dict[str, int]) -> Transfer:
    table = torch.arange(len(base) * 2.0).reshape(-1, 2)
    return Transfer(Spelling(own, {"pad": 0}), Spelling(base, {"pad": 0}), table, table[:, 0])


def test_word_piece_marks_what_goes_on():
    own = {"<pad>": 0, "▁ab": 1, "ab": 2, "▁c": 3}
    found = spelt_alike(transfer(own, {"<pad>": 0, "##ab": 1, "ab": 2, "c": 3}))
    assert found == {1: 2, 2: 1, 3: 3}
    assert spelt_alike(transfer(own, {"<pad>": 0, "ab": 1, "▁x": 2})) == {2: 1}


class Text:
    """Static vectors as they are given."""

    def __init__(self, seen, vectors):
        self.seen, self.found = np.array(seen), np.array(vectors, np.float32)

    def vectors(self, which):
        assert which == "own"
        return self.seen, self.found


def test_focus_mixes_known_neighbours_and_keeps_what_is_spelt_alike():
    both = transfer({"<pad>": 0, "a": 1, "b": 2, "новый": 3}, {"<pad>": 0, "b": 1, "a": 2})
    near = [1.0, 0.1]
    seen, weights = focus(both, Text([1, 2, 3], [[1, 0], [0, 1], near]))
    assert seen.tolist() == [1, 2, 3]
    np.testing.assert_allclose(weights[:2], [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(weights[2], [0, 0.05, 0.95], atol=1e-6)
