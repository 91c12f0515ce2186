"""Parts of one batch on several threads: the same numbers, and nothing let go of too early."""

import threading

import numpy as np
import pytest

from service import session
from service.encoder import EncoderEngine
from service.engine import parts_by_length
from service.schemas import TextsRequest
from service.settings import Settings
from tests.text import SENTENCES


def opened(folder, **changes):
    settings = Settings(models=folder.parent, precision="fp32", **{"threads": 2, **changes})
    return EncoderEngine(folder, settings, None)


def rows_of(engine, count):
    found = []
    for place in range(count):
        tag = list(SENTENCES)[place % len(SENTENCES)]
        text = " ".join(SENTENCES[tag][0].split()[: 2 + place % 3])
        request = TextsRequest(texts=[text], language=tag)
        found.append(engine._plan("embed", request)(0, text).row)
    return found


def noted(engine, monkeypatch):
    """The threads that run parts, and how many rows each."""
    parts, execute = [], engine.execute
    monkeypatch.setattr(
        engine,
        "execute",
        lambda rows, pinned: (
            parts.append((threading.current_thread().name, len(rows))) or execute(rows, pinned)
        ),
    )
    return parts


@pytest.fixture
def engine(encoder_folder):
    engine = opened(encoder_folder)
    yield engine
    engine.close()


def test_parts_answer_as_the_whole(engine, encoder_folder, monkeypatch):
    alone = opened(encoder_folder, threads=1)
    try:
        expected = alone.run(rows_of(alone, 9))
    finally:
        alone.close()
    assert len({output["hidden"].shape for output in expected}) > 2
    parts = noted(engine, monkeypatch)
    found = engine.run(rows_of(engine, 9))
    assert sorted(count for _, count in parts) == [4, 5]
    assert all(name.startswith("part-") for name, _ in parts)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["hidden"], other["hidden"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "count", "expected"),
    [
        ([9, 3, 8, 4], 2, [[1, 3, 2], [0]]),
        ([5, 5, 5, 5, 5, 5], 3, [[0, 1], [2, 3], [4, 5]]),
        ([40, 2, 3], 2, [[1, 2], [0]]),
        ([7], 2, [[0]]),
    ],
)
def test_parts_have_rows_of_like_length_and_as_many_tokens(lengths, count, expected):
    assert parts_by_length(lengths, count) == expected


def test_few_rows_stay_with_one_thread(engine, monkeypatch):
    parts = noted(engine, monkeypatch)
    engine.run(rows_of(engine, 3))
    assert [count for _, count in parts] == [3]


def test_a_wide_base_shares_its_products_instead(encoder_folder, monkeypatch):
    monkeypatch.setattr(session, "NARROW", 1)
    engine = opened(encoder_folder)
    try:
        parts = noted(engine, monkeypatch)
        engine.run(rows_of(engine, 8))
        assert [count for _, count in parts] == [8]
    finally:
        engine.close()


def test_modules_stay_until_every_part_has_ended(engine, monkeypatch):
    ended, going = [], threading.Event()

    def execute(rows, pinned):
        if len(rows) == 5:
            raise ValueError("this part fails")
        going.wait(0.2)
        ended.append(dict(engine.bank.roles["language"].pins))
        return [None] * len(rows)

    monkeypatch.setattr(engine, "execute", execute)
    with pytest.raises(ValueError, match="this part fails"):
        engine.run(rows_of(engine, 9))
    (pins,) = ended
    assert pins
    assert not engine.bank.roles["language"].pins
