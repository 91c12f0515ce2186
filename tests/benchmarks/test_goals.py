"""The table of aims: figures from results, met or missed in every batch."""

import math

import pytest

from benchmarks.experiment import ManyModules, Rivals, TrainingSpeed
from benchmarks.goals import Goal, goal_table, goals_of
from benchmarks.result import ManyModulesResult, Run, SlotsPoint
from benchmarks.serving_experiments import FirstRequests, Starts
from benchmarks.serving_results import (
    FirstPoint,
    FirstRequestsResult,
    StartPoint,
    StartsResult,
)
from benchmarks.side_by_side import RivalPoint, RivalRun, RivalsResult, TrainingResult


def run(speed, p95=1):
    return Run(texts_per_second=speed, p50=1, p95=p95, p99=p95)


def lines(*results):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in goal_table(goals_of(results)).splitlines()[4:]
    ]


@pytest.fixture
def rivals():
    asked = Rivals(
        name="r", title="R", base="tiny", source="en", target="mn", systems=("ours", "x"),
        aims={"x": (1.5, 1.3)},
    )  # fmt: skip

    def point(system, rows, beams, milliseconds):
        runs = (RivalRun(milliseconds=milliseconds, tokens=10),)
        return RivalPoint(system=system, rows=rows, beams=beams, runs=runs, alike=1)

    points = [
        point(system, rows, beams, milliseconds)
        for rows, beams, times in ((1, 1, (10, 20)), (8, 1, (10, 14)), (1, 4, (10, 14)))
        for system, milliseconds in zip(("ours", "x"), times, strict=True)
    ]
    return RivalsResult.model_construct(experiment=asked, points=tuple(points))


def test_an_aim_is_met_where_every_batch_meets_it(rivals):
    assert lines(rivals) == [
        ["translation, greedy, 1 / 8 rows, tiny, tokens/s", "x", "≥ 1.5", "2.00 / 1.40", "no"],
        ["translation, 4 beams, 1 row, tiny, tokens/s", "x", "≥ 1.3", "1.40", "yes"],
    ]
    assert "1 of 2 are met" in goal_table(goals_of([rivals]))


def test_some_aims_are_the_most_that_will_do():
    def point(first, others):
        return FirstPoint(
            resident=run(1, 10), first=run(1, first),
            others_beside_resident=run(1, 10), others_beside_first=run(1, others),
        )  # fmt: skip

    asked = FirstRequests.model_construct(aim=10, others_aim=1.05)
    points = (point(12, 10), point(19, 12), point(90, 30))
    first = FirstRequestsResult.model_construct(experiment=asked, points=points)
    ready = [StartPoint(seconds=each, ready_mib=120, later_mib=130) for each in (3, 9, 4)]
    asked = Starts.model_construct(aim_seconds=5, aim_memory=1.3)
    starts = StartsResult.model_construct(experiment=asked, graphs_mib=60.0, ours=tuple(ready))
    assert [row[2:] for row in lines(first, starts)] == [
        ["≤ 10 ms more", "9.00 ms more", "yes"],
        ["≤ 1.05", "1.20", "no"],
        ["≤ 5 s", "4.00 s", "yes"],
        ["≤ 1.3", "2.00", "no"],
    ]


def test_fewer_slots_are_held_against_all_in_one_traffic():
    def point(slots, traffic, speed):
        return SlotsPoint(
            runs=(run(speed),), different=0, slots=slots, traffic=traffic, hits=1, banks_mib=1
        )

    copies = {"base": "tiny", "module": "en-lora", "count": 20}
    asked = ManyModules.model_validate({
        "name": "m", "title": "M", "copies": copies, "slots": (20, 4), "aims": {4: 0.8},
        "work": {"endpoint": "embed", "languages": ["en"]},
    })  # fmt: skip
    points = (
        point(20, "zipf", 100), point(20, "uniform", 50),
        point(4, "zipf", 90), point(4, "uniform", 10),
    )  # fmt: skip
    result = ManyModulesResult.model_construct(experiment=asked, points=points)
    assert lines(result) == [
        ["20 modules, Zipf 1.1, 4 slots, texts/s", "all of them in slots", "≥ 0.8", "0.90", "yes"]
    ]


def test_experiments_without_an_aim_have_no_row(rivals):
    without = rivals.experiment.model_copy(update={"aims": {}})
    result = RivalsResult.model_construct(experiment=without, points=rivals.points)
    asked = TrainingSpeed.model_construct(aim=2)
    goals = goals_of([result, TrainingResult.model_construct(experiment=asked, points=())])
    assert (goals, goal_table(goals)) == ([], "")


@pytest.mark.parametrize(
    ("goal", "shares"),
    [
        (Goal("speed", "x", 2.0, (1.0, 3.0)), (0.5, 1.5)),
        (Goal("time", "x", 2.0, (4.0, 1.0), least=False), (0.5, 2.0)),
        (Goal("time more", "x", 10.0, (-3.0,), least=False), (math.inf,)),
    ],
)
def test_a_share_of_one_meets_an_aim(goal, shares):
    assert goal.shares == shares
    assert goal.met == all(each >= 1 for each in shares)
