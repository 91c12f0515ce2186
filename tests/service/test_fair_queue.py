from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from service.fair_queue import FairQueue, padded


@dataclass(eq=False)
class Row:
    language: str
    length: int
    arrived: float = 0.0
    left: bool = False


def filled(rows, alike=True):
    queue = FairQueue(alike)
    for index, row in enumerate(rows):
        row.arrived = index
        queue.put(row)
    return queue


def test_padded_lengths_repeat_and_waste_little():
    assert [padded(n) for n in (1, 8, 9, 64, 65, 100, 129, 500)] == [
        8,
        8,
        16,
        64,
        80,
        112,
        160,
        512,
    ]
    assert all(n <= padded(n) < n + max(8, n / 4) for n in range(1, 1000))


def test_a_flood_of_one_language_does_not_keep_another_waiting():
    queue = filled([Row("mn", 10) for _ in range(100)] + [Row("ko", 10)])
    first = queue.take(tokens=64, rows=4)
    assert Counter(row.language for row in first) == {"mn": 3, "ko": 1}


def test_a_batch_holds_alike_lengths_within_its_budget():
    queue = filled([Row("mn", 60), Row("ko", 8), Row("kk", 40), Row("tr", 64), Row("eu", 33)])
    assert [row.length for row in queue.take(tokens=200, rows=10)] == [60, 40, 64]
    assert [row.length for row in queue.take(tokens=200, rows=10)] == [33]
    assert [row.length for row in queue.take(tokens=200, rows=10)] == [8]


def test_where_length_does_not_matter_a_batch_takes_who_came_first():
    rows = [Row("mn", 9), Row("ko", 60), Row("mn", 30), Row("ko", 90), Row("mn", 8)]
    queue = filled(rows, alike=False)
    # Three times 64 tokens after padding; a fourth row or one of 96 would be over the budget.
    assert [row.length for row in queue.take(tokens=200, rows=10)] == [9, 60, 30]
    assert [row.length for row in queue.take(tokens=200, rows=10)] == [90, 8]
    assert queue.rows == 0


def test_the_oldest_row_of_a_language_sets_the_length():
    queue = filled([Row("mn", 8), Row("mn", 100), *[Row("mn", 8) for _ in range(50)]])
    assert {row.length for row in queue.take(tokens=8, rows=9)} == {8}
    assert queue.take(tokens=8, rows=9)[0].length == 100


def test_rows_that_left_are_not_taken():
    rows = [Row("mn", 8), Row("mn", 8, left=True), Row("ko", 300, left=True)]
    queue = filled(rows)
    queue.purge()
    assert (queue.rows, queue.tokens) == (1, 8)
    assert queue.take(tokens=100, rows=9) == rows[:1]
    assert queue.take(tokens=100, rows=9) == []


rows = st.builds(
    Row,
    st.sampled_from(["mn", "ko", "kk"]),
    st.integers(1, 300),
    left=st.booleans(),
)


@given(st.lists(rows, max_size=60), st.integers(8, 600), st.integers(1, 8))
def test_every_row_is_taken_once_and_no_batch_is_over_its_budget(waiting, tokens, limit):
    queue, taken = filled(waiting), []
    while queue.rows:
        batch = queue.take(tokens, limit)
        width = padded(max((row.length for row in batch), default=0))
        assert len(batch) <= limit
        assert len(batch) <= 1 or width * len(batch) <= tokens
        taken += batch
    assert {id(row) for row in taken} == {id(row) for row in waiting if not row.left}
    assert queue.tokens == 0


@given(st.lists(rows, min_size=1, max_size=60))
def test_no_language_waits_longer_than_a_turn_of_each(waiting):
    waiting = [Row(row.language, row.length) for row in waiting]
    queue = filled(waiting)
    languages = {row.language for row in waiting}
    seen = {row.language for _ in languages for row in queue.take(tokens=1, rows=1)}
    assert seen == languages
