"""Experiments about serving end to end on a tiny base, and their tables."""

import pytest

from benchmarks.first_requests import measure_first_requests
from benchmarks.over_http import measure_over_http
from benchmarks.result import Run
from benchmarks.serving_experiments import FirstRequests, OverHttp, Starts
from benchmarks.serving_results import (
    FirstPoint,
    FirstRequestsResult,
    HttpPoint,
    OverHttpResult,
    StartsResult,
)
from benchmarks.starts import measure_starts
from benchmarks.tables import table


def run(speed, p95):
    return Run(texts_per_second=speed, p50=1, p95=p95, p99=p95)


def cells(result):
    return [[cell.strip() for cell in line.split("|")] for line in table(result).splitlines()[4:]]


@pytest.fixture
def asked(models):
    return {"name": "small", "title": "Small", "models": models, "threads": 1}


@pytest.mark.parametrize("beside", ["engine", "empty"])
def test_http_is_measured_beside_a_peer(asked, beside, tmp_path):
    work = [{"endpoint": "embed", "languages": ["mn", "ko"]}]
    own = {"beside": beside, "work": work, "requests": 3, "concurrencies": [2], "aim": 0.5}
    result = measure_over_http(OverHttp.model_validate({**asked, **own, "repetitions": 2}))
    (point,) = result.points
    assert (len(point.ours), len(point.peer), point.different) == (2, 2, 0)
    assert all(each.texts_per_second > 0 for each in (*point.ours, *point.peer))
    result.save(tmp_path / "small.json")
    assert OverHttpResult.load(tmp_path / "small.json") == result
    assert cells(result)[0][-2] == "≥ 0.5"


def test_a_share_is_of_runs_side_by_side():
    ours, peer = (run(90, 1), run(10, 1), run(60, 1)), (run(100, 1), run(100, 1), run(100, 1))
    point = HttpPoint(endpoint="embed", concurrency=1, ours=ours, peer=peer, different=0)
    assert point.share == 0.6


def test_first_requests_are_measured_beside_other_traffic(copied, tmp_path):
    own = {"name": "first", "resident": 3, "probes": 3, "repetitions": 2, "aim": 10}
    own |= {"every": 0.02, "others_every": 0.01, "others_aim": 1.05}
    del copied["concurrency"]
    result = measure_first_requests(FirstRequests.model_validate({**copied, **own}))
    assert len(result.points) == 2
    assert result.different == 0
    assert result.module_bytes > 1000
    result.save(tmp_path / "first.json")
    assert FirstRequestsResult.load(tmp_path / "first.json") == result
    few = {**copied, **own, "repetitions": 3}
    with pytest.raises(ValueError, match="each is first once: 12 are used"):
        FirstRequests.model_validate(few)


def test_what_first_requests_take_beyond_others():
    point = FirstPoint(
        resident=run(1, 10),
        first=run(1, 14),
        others_beside_resident=run(1, 10),
        others_beside_first=run(1, 15),
    )
    result = FirstRequestsResult.model_construct(points=(point,))
    assert (result.later("p95"), result.others("p95")) == ([4], [1.5])


def test_starts_are_measured_with_their_memory(asked, tmp_path):
    work = [{"endpoint": "embed", "languages": ["mn"]}]
    own = {"work": work, "requests": 2, "repetitions": 1, "aim_seconds": 5, "aim_memory": 1.3}
    result = measure_starts(Starts.model_validate({**asked, **own}))
    (ours,), (empty,) = result.ours, result.empty
    # An empty service has no graphs: the process that answers was found, not the one above it.
    assert ours.ready_mib > empty.ready_mib + 10
    assert min(result.first.seconds, ours.seconds, empty.seconds) > 0.2
    assert result.graphs_mib > 0.1
    result.save(tmp_path / "starts.json")
    assert StartsResult.load(tmp_path / "starts.json") == result
    assert [row[1] for row in cells(result)] == [
        "start to ready, s", "resident when ready, MiB", "resident after requests, MiB",
    ]  # fmt: skip
