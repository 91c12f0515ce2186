"""Experiments about serving end to end on a tiny base: every answer checked."""

import asyncio

import pytest
from pydantic import ValidationError

from benchmarks.experiment import Result
from benchmarks.requests import Work, requests_of
from benchmarks.sending import Asker
from benchmarks.tables import table
from langmod.errors import ConfigError, LangmodError

FILLING = [{"endpoint": "fill_mask", "languages": ["mn", "ko", "en"]}]


@pytest.fixture
def serving(small):
    def made(**fields):
        return small("serving", **{"work": FILLING, "requests": 3, "texts": 2, **fields})

    return made


def test_every_arm_is_measured_and_answers_as_alone(serving):
    arms = ["engine", "engine-by-language", "engine-bare"]
    result = Result.of(serving(arms=arms, concurrencies=[1, 4]))
    assert [(p.arm, p.setting) for p in result.points] == [
        (arm, concurrency)
        for concurrency in ("1", "4")
        for arm in ("engine in process", "engine, one language at a time", "engine, bare base")
    ]
    for point in result.points:
        assert point.figures["differ"] == (0, 0)
        assert point.figures["modules"] == ((0, 0) if "bare" in point.arm else (2, 2))
        p50, p95, p99 = (point.figures[name] for name in ("p50", "p95", "p99"))
        assert all(0 < a <= b <= c for a, b, c in zip(p50, p95, p99, strict=True))
    assert result.circumstances.bases[0].startswith("tiny-encoder@")
    assert "| 4 | engine, bare base |" in table(result)


def test_the_service_is_measured_beside_its_engines_and_an_empty_one(serving):
    work = [{"endpoint": "embed", "languages": ["mn"]}, {**FILLING[0], "languages": ["ko"]}]
    points = serving(
        arms=["http", "engine", "empty"], apart=True, work=work, concurrencies=[2]
    ).measure()
    assert [point.setting for point in points[::3]] == ["`embed`, 2", "`fill_mask`, 2"]
    assert all(point.figures["differ"] == (0, 0) for point in points)
    assert all(speed > 0 for point in points for speed in point.figures["texts/s"])
    assert len(points[2].figures["first ÷ it"]) == 2


def test_a_request_that_fails_stops_the_experiment(serving):
    work = [{"endpoint": "classify", "languages": ["mn"], "body": {"task": "moods"}}]
    with pytest.raises(LangmodError, match="no task 'moods'"):
        serving(arms=["engine"], work=work).measure()


def test_an_answer_that_changes_is_counted():
    class Fickle:
        asked = 0

        async def ask(self, request):
            self.asked += 1
            return [{"modules": ["m@1"], "score": 0.5 + (self.asked == 20)} for _ in range(2)]

    requests = requests_of([Work.model_validate(FILLING[0])], 3, 2, "<mask>")
    with asyncio.Runner() as runner:
        asker = Asker(Fickle(), runner)
        first, second = (asker([requests], 2) for _ in range(2))
    assert (first["differ"], second["differ"], first["modules"]) == (0, 1, 1)


def test_no_base_in_this_precision(serving, tmp_path):
    with pytest.raises(ConfigError, match="holds no base with int8 graphs"):
        serving(arms=["engine"], models=tmp_path).measure()


def test_a_bare_base_is_asked_for_no_task(serving):
    work = [{"endpoint": "tag", "languages": ["ko"], "body": {"task": "ner"}}]
    with pytest.raises(ValidationError, match="no head for tag: drop engine-bare"):
        serving(arms=["engine", "engine-bare"], work=work)


def test_starts_are_measured_with_their_memory(small):
    work = [{"endpoint": "embed", "languages": ["mn"]}]
    ours, empty = small("starts", work=work, requests=2, repetitions=1).measure()
    # An empty service has no graphs: the process that answers was found, not the one above it.
    assert ours.median("ready, MiB") > empty.median("ready, MiB") + 10
    assert min(ours.median("nothing kept, s"), empty.median("start to ready, s")) > 0.2
    graphs = ours.median("graph files, MiB")
    beyond = ours.median("ready, MiB") - empty.median("ready, MiB")
    assert ours.median("ready, MiB beyond the empty") == pytest.approx(beyond / graphs, rel=1e-4)
