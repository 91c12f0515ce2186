"""Batches of pairs: the n-th is always the same, none is empty, shares are kept."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.packing import IGNORED
from training.data.pair_batches import (
    Drawn,
    PairBatches,
    Special,
    cut_evenly,
    most_frequent,
    shares_of,
)
from training.data.piece_noise import PieceNoise, noised_pieces
from training.data.token_rows import PairRows, TokenRows

SPECIAL = Special(source_pad=1, source_mask=4, start=90, end=91)


def rows(first, count, rng):
    sources = [[0, *rng.integers(first, first + 5, rng.integers(1, 9)), 2] for _ in range(count)]
    targets = [rng.integers(first, first + 5, rng.integers(2, 7)).tolist() for _ in range(count)]
    return PairRows(TokenRows.of(sources), TokenRows.of(targets))


@pytest.fixture
def drawn():
    rng = np.random.default_rng(3)
    return [
        Drawn("a", rows(10, 50, rng), 80, 0.75),
        Drawn("b", rows(30, 20, rng), 81, 0.25, PieceNoise(mask=0.5, drop=0.0)),
    ]


def test_a_batch_is_the_same_whatever_was_read_before(drawn):
    def build():
        return PairBatches(drawn, SPECIAL, (12, 40, 4), seed=5)

    whole, late = build(), build()
    before = [whole[place] for place in range(12)]
    for place in (11, 3, 7):
        for name, tensor in late[place].items():
            assert tensor.equal(before[place][name])
    assert not before[0]["labels"].equal(before[4]["labels"])


def test_a_batch_reads_the_language_and_says_the_target(drawn):
    batches = PairBatches(drawn, SPECIAL, (8, 400, 4), seed=5)
    languages = []
    for place in range(8):
        batch = batches[place]
        read, labels = batch["decoder_input_ids"], batch["labels"]
        assert (read[:, 0] == SPECIAL.start).all()
        assert (labels[:, 0] == IGNORED).all()
        for row_read, row_said in zip(read.tolist(), labels.tolist(), strict=True):
            said = [each for each in row_said if each != IGNORED]
            assert said[-1] == SPECIAL.end
            assert row_read[2 : len(said) + 1] == said[:-1]
            languages.append(row_read[1])
        assert (batch["attention_mask"] == (batch["input_ids"] != 1)).all()
    assert len(languages) == 800
    assert 0.7 < languages.count(80) / 800 < 0.8


def test_only_denoised_sources_are_noised(drawn):
    batches = PairBatches(drawn, SPECIAL, (4, 400, 4), seed=5)
    for place in range(4):
        batch = batches[place]
        masked = (batch["input_ids"] == SPECIAL.source_mask).any(1)
        languages = batch["decoder_input_ids"][:, 1]
        assert not masked[languages == 80].any()
    assert any((batches[place]["input_ids"] == SPECIAL.source_mask).any() for place in range(4))


@given(st.lists(st.integers(1, 60), min_size=5, max_size=80), st.integers(1, 5))
def test_parts_are_whole_and_none_is_empty(lengths, parts):
    cuts = cut_evenly(np.array(sorted(lengths)), parts)
    assert cuts[0] == 0
    assert cuts[-1] == len(lengths)
    assert len(cuts) == parts + 1
    assert all(after > before for before, after in itertools.pairwise(cuts))


def test_noise_keeps_the_ends_and_moves_no_piece_far():
    rng = np.random.default_rng(1)
    row = np.array([0, *range(100, 140), 2], np.int32)
    still = noised_pieces(row, PieceNoise(mask=0, drop=0, shuffle=3), 4, rng)
    assert (still[0], still[-1]) == (0, 2)
    assert sorted(still) == sorted(row)
    assert 0 < np.abs(still[1:-1] - row[1:-1]).max() < 3
    thin = noised_pieces(row, PieceNoise(mask=0.5, drop=0.5, shuffle=0), 4, rng)
    assert len(thin) < len(row)
    assert (thin == 4).any()


def test_shares_follow_kinds_first_and_sizes_within():
    sizes = {("a-en", "x"): 100, ("b-en", "x"): 400, ("a-en", "y"): 7}
    found = shares_of(sizes, {"x": 0.6, "y": 0.4}, 0.5)
    assert found == pytest.approx({("a-en", "x"): 0.2, ("b-en", "x"): 0.4, ("a-en", "y"): 0.4})


def test_each_language_has_its_own_frequent_pieces(drawn):
    few = most_frequent(drawn, 3, 100)
    assert {language: len(pieces) for language, pieces in few.items()} == {80: 3, 81: 3}
    every = most_frequent(drawn, 50, 100)
    assert every[80].tolist() == list(range(10, 15))
    assert every[81].tolist() == list(range(30, 35))


def test_rows_come_back_as_written(tmp_path, drawn):
    drawn[0].rows.save(tmp_path / "rows.npz")
    found = PairRows.load(tmp_path / "rows.npz")
    assert [list(found.sources[row]) for row in range(50)] == [
        list(drawn[0].rows.sources[row]) for row in range(50)
    ]
    short = found.fitting((6, 5))
    assert 0 < len(short) < 50
    assert short.sources.lengths.max() <= 6
    assert short.targets.lengths.max() <= 5
