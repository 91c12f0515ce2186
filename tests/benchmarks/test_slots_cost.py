"""What slots cost: rows meet the modules that a mix says, and are compared run by run."""

import numpy as np
import pytest
import torch

from adaptation.slotted import SlottedBase
from benchmarks.experiment import SlotsCost
from benchmarks.side_by_side import CostPoint, CostResult
from benchmarks.slots_cost import (
    batch,
    graphs,
    measure_slots,
    modules_of,
    random_base,
    slots_of,
    tables_of,
)
from benchmarks.tables import table
from export.encoder_graphs import Body

ASKED = SlotsCost(
    name="s", title="S", width=32, layers=1, precision="fp32", threads=1, modules=7,
    batches=((1, 4), (8, 4)), repetitions=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    base = random_base(ASKED)
    slotted = SlottedBase(base)
    slotted.eval().requires_grad_(False)
    body = Body(slotted)
    return base, body, *graphs(body, tmp_path_factory.mktemp("graphs"), ASKED)


@pytest.mark.parametrize("mix", ASKED.mixes)
def test_a_mix_changes_the_rows_that_it_says(opened, mix):
    base, body, full, plain = opened
    feed = batch(8, 4, ASKED)
    tables = tables_of(body.banks, modules_of(base, mix, ASKED))
    found = full.run({**feed, "slots": slots_of(8, mix, ASKED.modules)}, tables)["hidden"]
    bare = plain.run(feed)["hidden"]
    moved = np.abs(found - bare).max((1, 2))
    assert (moved < 1e-5).all() if mix == "bare" else (moved > 1e-4).all()


def test_every_kind_is_of_every_method(opened):
    modules = modules_of(opened[0], "every kind twice", ASKED)
    for role in ("language", "task"):
        own = [
            {name.partition(".")[0] for name in tensors}
            for each, tensors in modules
            if each == role
        ]
        assert len(own) == ASKED.modules
        assert {name for names in own for name in names} >= {
            "bitfit", "bottleneck", "double_bottleneck", "ia3", "lora", "parallel_bottleneck",
        }  # fmt: skip
    first, second = slots_of(8, "every kind twice", 7).T
    assert (first != second).all()


def test_modules_are_the_same_in_every_run(opened):
    first, second = (modules_of(opened[0], "lora", ASKED) for _ in range(2))
    for (_, one), (_, other) in zip(first, second, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_points_are_measured_and_tabled():
    result = measure_slots(ASKED)
    assert [(p.mix, p.rows) for p in result.points] == [
        (mix, rows) for rows in (1, 8) for mix in ASKED.mixes
    ]
    assert CostResult.model_validate_json(result.model_dump_json()) == result
    assert "| 8 x 4 |" in table(result)


def test_runs_that_followed_one_another_are_compared():
    point = CostPoint(
        rows=1, tokens=1, mix="bare", milliseconds=(2.0, 30.0, 4.0), plain=(1.0, 10.0, 4.0)
    )
    assert point.ratio == pytest.approx(2.0)
