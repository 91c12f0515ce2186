"""Graphs and libraries on random weights: rows meet their modules, and all compute alike."""

import numpy as np
import pytest
import torch

from benchmarks.experiment import Result
from benchmarks.kinds.encoders import Encoders
from benchmarks.kinds.slots import MIXES, SlotsCost
from benchmarks.tables import table
from langmod.errors import ConfigError

USUAL = {"name": "e", "title": "E", "threads": 1, "repetitions": 2}
SLOTS = SlotsCost(
    **USUAL, width=32, layers=1, precision="fp32", modules=7, batches=((1, 4), (8, 4))
)


@pytest.fixture(scope="module")
def opened():
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield SLOTS.opened(stack)


@pytest.mark.parametrize("mix", MIXES)
def test_a_mix_changes_the_rows_that_it_says(opened, mix):
    (_, _), (_, inputs) = SLOTS.settings()
    found, bare = (
        opened[arm][""](*inputs(0))["hidden"] for arm in (MIXES[mix], "graph without slots")
    )
    moved = np.abs(found - bare).max((1, 2))
    assert (moved < 1e-5).all() if mix == "bare" else (moved > 1e-4).all()


def test_every_kind_is_of_every_method():
    modules = SLOTS.modules_of(SLOTS.slotted().architecture, "every kind twice")
    for role in ("language", "task"):
        own = [
            {name.partition(".")[0] for name in tensors}
            for each, tensors in modules
            if each == role
        ]
        assert len(own) == SLOTS.modules
        assert {name for names in own for name in names} >= {
            "bitfit", "bottleneck", "double_bottleneck", "ia3", "lora", "parallel_bottleneck",
        }  # fmt: skip


def test_modules_are_the_same_in_every_run():
    base = SLOTS.slotted().architecture
    first, second = (SLOTS.modules_of(base, "lora") for _ in range(2))
    for (_, one), (_, other) in zip(first, second, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_slots_are_measured_and_tabled():
    result = Result.of(SLOTS)
    assert [(p.setting, p.arm) for p in result.points] == [
        (setting, arm)
        for setting in ("1 x 4", "8 x 4")
        for arm in ("graph without slots", *MIXES.values())
    ]
    assert "| 8 x 4 | bare base |" in table(result)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the second method finds the graphs that were made for the first."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def asked(cache):
    def made(**fields):
        usual = {**USUAL, "width": 64, "layers": 1, "modules": 3, "batches": ((5, 6),)}
        return Encoders(**{**usual, "cache": cache, **fields})

    return made


@pytest.mark.parametrize(
    ("method", "reference", "others"),
    [
        ("lora", "PEFT fp32", ["PEFT bf16", "ONNX Runtime int8, bare", "CTranslate2 int8, bare"]),
        ("bottleneck", "adapters BatchSplit fp32", ["adapters one by one bf16"]),
    ],
)
def test_encoders_of_the_same_weights_and_modules_are_alike(asked, method, reference, others):
    points = asked(
        method=method, references=(reference, bare := "torch fp32, bare"),
        systems=("langmod fp32", "langmod int8", reference, bare, *others),
    ).measure()  # fmt: skip
    difference = {point.arm: point.median("difference") for point in points}
    assert difference.pop(reference) == difference.pop(bare) == 0
    assert difference.pop("langmod fp32") < 1e-5
    assert all(0 < each < 0.05 for each in difference.values())


def test_modules_move_what_is_compared(asked):
    bare = "torch fp32, bare"
    systems = ("PEFT fp32", bare)
    point, _ = asked(method="lora", systems=systems, references=(bare, bare)).measure()
    assert point.median("difference") > 1e-3


def test_systems_that_nobody_knows_are_named(asked):
    with pytest.raises(ConfigError, match="no system x; known: langmod int8, langmod fp32"):
        asked(method="lora", systems=("x",), references=("x",)).measure()


def test_graphs_that_are_kept_are_of_the_code_that_made_them(asked, cache, monkeypatch):
    one = asked(method="lora", systems=("langmod fp32",), references=("langmod fp32",) * 2)
    one.measure()
    made = set(cache.iterdir())
    one.measure()
    assert set(cache.iterdir()) == made
    monkeypatch.setattr("benchmarks.kinds.encoders.code", lambda: "other")
    one.measure()
    assert len(set(cache.iterdir()) - made) == 1
