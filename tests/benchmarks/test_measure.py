"""An experiment end to end on a tiny base: every arm measured, every answer checked."""

import pytest

from benchmarks.experiment import Experiment
from benchmarks.measure import Contest, measure
from benchmarks.result import Result
from benchmarks.tables import END, START, table, write_tables
from benchmarks.workload import requests_of
from langmod.errors import ConfigError, LangmodError
from langmod.specs import GraphSpec


def changed(experiment, **fields):
    return Experiment.model_validate(experiment.model_dump() | fields)


@pytest.fixture
def result(experiment):
    return measure(experiment, "engine")


def test_every_arm_is_measured_and_answers_as_alone(result, models, tmp_path):
    arms = ("mixed", "by_language", "bare")
    assert [(p.arm, p.concurrency) for p in result.points] == [(a, c) for c in (1, 4) for a in arms]
    for point in result.points:
        assert len(point.runs) == 2
        assert point.different == 0
        assert all(0 < run.p50 <= run.p95 <= run.p99 for run in point.runs)
        assert all(run.texts_per_second > 0 for run in point.runs)
    spec = GraphSpec.load(models / "tiny-encoder" / "onnx" / "int8")
    assert result.circumstances.bases == (f"tiny-encoder@{spec.base.digest[:12]}",)
    assert [key.partition("@")[0] for key in result.modules] == ["ko-lora", "mn-bottleneck"]
    result.save(tmp_path / "engine" / "small.json")
    assert Result.load(tmp_path / "engine" / "small.json") == result


def test_the_service_is_measured_over_http(experiment):
    small = changed(experiment, concurrencies=[2], repetitions=1)
    found = measure(small, "load")
    assert [point.different for point in found.points] == [0, 0, 0]
    assert len(found.modules) == 2


def test_a_request_that_fails_stops_the_experiment(experiment):
    work = [{"endpoint": "classify", "languages": ["mn"], "body": {"task": "moods"}}]
    wrong = changed(experiment, work=work, arms=["mixed"])
    with pytest.raises(LangmodError, match="no task 'moods'"):
        measure(wrong, "engine")


async def test_an_answer_that_changes_is_counted(experiment):
    class Fickle:
        asked = 0

        async def ask(self, request):
            self.asked += 1
            return [{"modules": [], "score": 0.5 + (self.asked == 20)} for _ in range(2)]

    requests = requests_of(experiment, "<mask>")
    system = Fickle()
    contest = Contest(experiment, requests, dict.fromkeys(experiment.arms, system))
    await contest.warm_up()
    assert system.asked == 18
    assert [point.different for point in await contest.points(1)] == [1, 0, 0]


def test_no_base_in_this_precision(experiment, tmp_path):
    with pytest.raises(ConfigError, match="holds no base with int8 graphs"):
        measure(changed(experiment, models=tmp_path), "engine")


def test_tables_go_between_the_markers(result, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="run `make bench`"):
        write_tables(readme)
    result.save(tmp_path / "engine" / "small.json")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "other.json").write_text("{}", encoding="utf-8")
    assert write_tables(readme) == 1
    text = readme.read_text(encoding="utf-8")
    assert text == f"before\n{START}\n\n{table(result)}\n\n{END}\nafter\n"
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["at once", ":--", "1", "4"]
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(ConfigError, match="to put the tables between"):
        write_tables(readme)


def test_ratios_are_of_medians(result):
    mixed, apart = (result.point(arm, 4) for arm in ("mixed", "by_language"))
    ratio = mixed.median("texts_per_second") / apart.median("texts_per_second")
    last = table(result).splitlines()[-1]
    assert last.split("|")[5].strip() == f"{ratio:.2f}"
