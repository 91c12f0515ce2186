"""No sentence, on either side of a pair, is ever in two splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.sources import SPLITS, Row
from training.data.splits import SplitOptions, sentence_key, split_rows

TEXTS = st.sampled_from([f"өгүүлбэр {number}" for number in range(12)])
SIDES = st.one_of(st.tuples(TEXTS), st.tuples(TEXTS, TEXTS))
ROWS = st.lists(st.tuples(SIDES, st.sampled_from([None, None, *SPLITS])), max_size=40)
OPTIONS = st.builds(
    SplitOptions,
    dev=st.sampled_from([0.0, 0.1, 0.4]),
    test=st.sampled_from([0.0, 0.1, 0.4]),
    max_rows=st.sampled_from([1, 3, 1000]),
)


def row(*texts: str, split: str | None = None) -> Row:
    return Row("s", ("en", "mn")[: len(texts)], texts, "s", split)


@given(ROWS, OPTIONS)
def test_nothing_leaks(drawn, options):
    rows = [row(*texts, split=split) for texts, split in drawn]
    done, leaks = split_rows(rows, options)
    assert len(done) + len(leaks) == len(rows)
    keys = {
        split: {sentence_key(text) for kept in done if kept.split == split for text in kept.texts}
        for split in SPLITS
    }
    assert all(kept.split in SPLITS for kept in done)
    assert not keys["train"] & keys["dev"]
    assert not keys["train"] & keys["test"]
    assert not keys["dev"] & keys["test"]
    assert [kept for kept in rows if kept.split == "test"] == [
        kept for kept in done if kept.split == "test" and kept in rows
    ]


@given(ROWS, OPTIONS)
def test_order_does_not_matter(drawn, options):
    rows = [row(*texts, split=split) for texts, split in drawn]
    straight, turned = split_rows(rows, options)[0], split_rows(rows[::-1], options)[0]
    assert sorted(map(str, straight)) == sorted(map(str, turned))


@pytest.mark.parametrize(
    ("rows", "expected", "leaks"),
    [
        ([row("Үг.", split="test"), row("ҮГ", split="train")], ["test"], 1),
        ([row("Үг", split="dev"), row("a", "Үг", split="train")], ["dev"], 1),
        ([row("a", "b", split="test"), row("b", "c", split="dev")], ["test"], 1),
        ([row("a", "b", split="dev"), row("b", "c"), row("c")], ["dev", "train"], 1),
        ([row("a", "b", split="train"), row("b", "c"), row("c")], ["train"] * 3, 0),
        ([row("a", "b"), row("b", "c"), row("c")], ["test"] * 3, 0),
    ],
)
def test_table(rows, expected, leaks):
    """The last line: rows joined through both sides of pairs go the same way, here all to test."""
    share = 0.49 if expected[0] == "test" and not leaks else 0.0
    done, leaked = split_rows(rows, SplitOptions(dev=0, test=share))
    assert [kept.split for kept in done] == expected
    assert len(leaked) == leaks


def test_shares_and_cap():
    rows = [row(f"sentence number {number}") for number in range(2000)]
    done, _ = split_rows(rows, SplitOptions(dev=0.1, test=0.05, max_rows=150))
    sizes = {split: sum(kept.split == split for kept in done) for split in SPLITS}
    assert sizes["dev"] == 150
    assert 70 < sizes["test"] < 130


def test_more_text_moves_nothing():
    """The split of a sentence hangs on its content, not on what else is there."""
    few = [row(f"sentence number {number}") for number in range(0, 1000, 2)]
    many = [row(f"sentence number {number}") for number in range(1000)]
    split_of = {kept.texts: kept.split for kept in split_rows(many, SplitOptions())[0]}
    assert all(kept.split == split_of[kept.texts] for kept in split_rows(few, SplitOptions())[0])


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Улаанбаатар хот.", "УЛААНБААТАР  ХОТ", True),
        ("ﬁle №1", "file No1", True),
        ("किताब", "कताब", False),
        ("!!!", "???", False),
        ("100%", "100", True),
    ],
)
def test_sentence_key(left, right, same):
    assert (sentence_key(left) == sentence_key(right)) == same
