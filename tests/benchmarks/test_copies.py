"""Many published modules: copies that differ, their traffic, and experiments end to end."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.kinds.first_requests import FIRST, RESIDENT
from langmod.errors import ConfigError
from langmod.specs import GraphSpec
from langmod.store import ModuleStore


@pytest.fixture
def many(of_copies):
    return of_copies("many-modules", slots=[9, 2], requests=24)


def test_copies_are_published_for_a_while_and_fit_their_base(of_copies, models):
    with of_copies("churn", ranks=[4, 1, 6], repetitions=0).published() as folder:
        store = ModuleStore(folder / "tiny-encoder" / "modules")
        modules = [store.load(f"mn-bottleneck-{number}") for number in range(9)]
        assert store.names() == sorted(each.manifest.name for each in modules)
    assert not folder.exists()
    spec = GraphSpec.load(models / "tiny-encoder" / "onnx" / "int8")
    assert all(each.manifest.faults(spec.base, spec.banks) == [] for each in modules)
    down = [each.tensors["bottleneck.encoder.down_weight"] for each in modules]
    assert [tensor.shape[-1] for tensor in down] == [4, 1, 6] * 3
    original = ModuleStore(models / "tiny-encoder" / "modules").load("mn-bottleneck")
    kept = original.tensors["bottleneck.encoder.down_weight"]
    assert np.corrcoef(down[0].ravel(), kept.ravel())[0, 1] > 0.8
    assert not np.allclose(down[0], down[3])


def test_a_module_that_is_not_there_cannot_be_copied(of_copies):
    with pytest.raises(ConfigError, match="holds no module 'xx' to copy"):
        of_copies("many-modules", module="xx").measure()


def test_each_copy_has_its_request(many):
    made = many.copy_requests()
    assert made == many.copy_requests()
    assert [each.body["modules"] for each in made] == [[f"mn-bottleneck-{n}"] for n in range(9)]
    assert [each.body["language"] for each in made[:3]] == ["mn", "ko", "mn"]
    assert all("<mask>" in each.body["texts"][0] for each in made)


def test_some_modules_are_frequent_in_zipf_traffic_and_none_in_uniform(of_copies):
    asked = of_copies("many-modules", requests=5000)
    made = asked.copy_requests()
    zipf, again = (Counter(r.number for r in asked.drawn(made, "zipf", s)[0]) for s in (1, 2))
    uniform = Counter(request.number for request in asked.drawn(made, "uniform", 1)[0])
    assert zipf != again
    assert [number for number, _ in zipf.most_common(2)] == [n for n, _ in again.most_common(2)]
    ranks = np.arange(1, 10) ** -1.1
    assert zipf.most_common(1)[0][1] / 5000 == pytest.approx(1 / ranks.sum(), abs=0.03)
    assert max(uniform.values()) / 5000 == pytest.approx(1 / 9, abs=0.03)


def test_many_modules_are_measured_and_answer_as_alone(many):
    points = many.measure()
    assert [(point.setting, point.arm) for point in points] == [
        ("zipf", "9"), ("zipf", "2"), ("uniform", "9"), ("uniform", "2"),
    ]  # fmt: skip
    assert all(point.figures["differ"] == (0, 0) for point in points)
    assert all(point.figures["in a slot"] == (1, 1) for point in points[::2])
    assert all(max(point.figures["in a slot"]) < 1 for point in points[1::2])
    assert points[0].median("banks, MiB") > points[1].median("banks, MiB") > 0
    all_in, few = (point.figures["texts/s"] for point in points[:2])
    shares = [own / first for own, first in zip(few, all_in, strict=True)]
    assert points[1].figures["÷ all in slots"] == pytest.approx(shares, rel=1e-4)


def test_a_wrong_module_is_counted(of_copies, monkeypatch):
    """Slots mixed up once all was asked alone: every answer under load is another's."""
    from service.bank import Bank

    slots = Bank._slots

    def mixed_up(self, stacks):
        return slots(self, stacks if len(stacks) == 1 else [*stacks[1:], stacks[0]])

    monkeypatch.setattr(Bank, "_slots", mixed_up)
    (point,) = of_copies("many-modules", slots=[9], requests=24, traffics=["uniform"]).measure()
    assert min(point.figures["differ"]) > 0


def test_churn_reads_the_memory_again_and_again(of_copies):
    asked = of_copies(
        "churn", ranks=[4, 12], slots=2, module_mib=1e-6, cycles=50, every=20, repetitions=0
    )
    points = asked.measure()
    assert [point.setting for point in points] == ["20", "40", "50"]
    # Each was asked alone before its first time.
    assert [point.median("evictions") for point in points] == [27, 47, 57]
    assert all(point.median("resident, MiB") > 50 for point in points)
    assert all(point.median("differ") == 0 for point in points)


def test_first_requests_are_measured_beside_other_traffic(of_copies):
    fields = {"resident": 3, "probes": 3, "every": 0.02, "others_every": 0.01}
    resident, first = of_copies("first-requests", **fields).measure()
    assert (resident.arm, first.arm) == (RESIDENT, FIRST)
    assert first.figures["differ"] == (0, 0)
    assert first.median("KiB of a module") > 1
    pairs = zip(first.figures["p95"], resident.figures["p95"], strict=True)
    assert first.figures["p95, ms more"] == pytest.approx([a - b for a, b in pairs], abs=1e-3)
    with pytest.raises(ValueError, match="each is first once: 12 are used"):
        of_copies("first-requests", **fields, repetitions=3)
