"""Rivals run the same weights: in fp32 they answer as we do, and are compared run by run."""

import pytest

from benchmarks.experiment import EncoderRivals, Rivals
from benchmarks.rivals.encoders import ENCODERS
from benchmarks.rivals.measure import measure_encoders, measure_rivals
from benchmarks.rivals.translators import TRANSLATORS
from benchmarks.side_by_side import RivalPoint, RivalRun, RivalsResult
from benchmarks.tables import table
from langmod.errors import ConfigError

ENCODED = {
    "name": "e", "title": "E", "width": 64, "layers": 1, "modules": 3, "threads": 1,
    "batches": ((5, 6),), "repetitions": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(models_folder):
    return Rivals(
        name="r", title="R", models=models_folder, base="tiny-translator", source="en",
        target="mn", systems=tuple(TRANSLATORS), precision="fp32", threads=1,
        batches=((1, 1), (3, 2)), most_tokens=8, repetitions=2,
    )  # fmt: skip


def test_translators_of_one_checkpoint_translate_alike(asked):
    result = measure_rivals(asked)
    assert RivalsResult.model_validate_json(result.model_dump_json()) == result
    for rows, beams in asked.batches:
        points = {point.system: point for point in result.of_batch(rows, beams)}
        assert points.keys() == TRANSLATORS.keys()
        assert points["langmod"].alike == points["transformers fp32"].alike == rows
        assert points["langmod"].runs[0].tokens == points["transformers fp32"].runs[0].tokens > 0
    assert "| 3, 2 |" in table(result)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Where the second method finds what was made for the first."""
    return tmp_path_factory.mktemp("graphs")


@pytest.mark.parametrize(
    ("method", "reference", "others"),
    [
        ("lora", "PEFT fp32", ["PEFT bf16", "ONNX Runtime int8, bare", "CTranslate2 int8, bare"]),
        ("bottleneck", "adapters BatchSplit fp32", ["adapters one by one bf16"]),
    ],
)
def test_encoders_of_the_same_weights_and_modules_are_alike(method, reference, others, graphs):
    asked = EncoderRivals(
        **ENCODED, method=method, systems=("langmod fp32", "langmod int8", reference, *others),
        references=(reference, "torch fp32, bare"), cache=graphs,
    )  # fmt: skip
    result = measure_encoders(asked)
    difference = {point.system: point.difference for point in result.points}
    assert difference[reference] == 0
    assert difference["langmod fp32"] < 1e-5
    assert all(0 < difference[each] < 0.05 for each in ("langmod int8", *others))
    assert f"| {reference} |" in table(result)


def test_modules_move_what_is_compared():
    asked = EncoderRivals(
        **ENCODED, method="lora", systems=("PEFT fp32",),
        references=("torch fp32, bare", "torch fp32, bare"), cache=None,
    )  # fmt: skip
    (point,) = measure_encoders(asked).points
    assert point.difference > 1e-3


def test_repetitions_that_followed_one_another_are_compared(asked):
    def point(system, *milliseconds):
        runs = [RivalRun(milliseconds=each, tokens=10) for each in milliseconds]
        return RivalPoint(system=system, rows=1, beams=1, runs=tuple(runs), alike=1)

    points = (point("langmod", 10, 100, 20), point("x", 20, 100, 60))
    result = RivalsResult.model_construct(experiment=asked, points=points)
    assert result.ratio(points[1]) == pytest.approx(2.0)


def test_systems_that_nobody_knows_are_named(asked):
    with pytest.raises(ConfigError, match="no system x; known: langmod, CTranslate2 int8"):
        measure_rivals(asked.model_copy(update={"systems": ("langmod", "x")}))
    assert "langmod int8" in ENCODERS
