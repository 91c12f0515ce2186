"""Many published modules: copies that differ, their traffic, and both experiments end to end."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.churn import measure_churn
from benchmarks.copies import published
from benchmarks.experiment import Churn, ManyModules
from benchmarks.many_modules import measure_many_modules
from benchmarks.result import ChurnResult, ManyModulesResult, graph_spec
from benchmarks.tables import table, write_tables
from benchmarks.workload import drawn, requests_of_copies
from langmod.errors import ConfigError
from langmod.store import ModuleStore


def changed(asked, **fields):
    return type(asked).model_validate(asked.model_dump() | fields)


def copies_of(asked, **fields):
    return asked.copies.model_copy(update=fields)


def test_copies_are_published_for_a_while_and_fit_their_base(many_modules):
    asked = many_modules
    spec = graph_spec(asked.models, "tiny-encoder", "int8")
    ranked = copies_of(asked, ranks=(4, 1, 6))
    with published(asked.models, spec, ranked, seed=1) as folder:
        store = ModuleStore(folder / "tiny-encoder" / "modules")
        modules = [store.load(ranked.name(number)) for number in range(9)]
        assert store.names() == sorted(each.manifest.name for each in modules)
    assert not folder.exists()
    assert all(each.manifest.faults(spec.base, spec.banks) == [] for each in modules)
    down = [each.tensors["bottleneck.encoder.down_weight"] for each in modules]
    assert [tensor.shape[-1] for tensor in down] == [4, 1, 6] * 3
    original = ModuleStore(asked.models / "tiny-encoder" / "modules").load("mn-bottleneck")
    kept = original.tensors["bottleneck.encoder.down_weight"]
    assert np.corrcoef(down[0].ravel(), kept.ravel())[0, 1] > 0.8
    assert not np.allclose(down[0], down[3])


def test_a_module_that_is_not_there_cannot_be_copied(many_modules):
    wrong = changed(many_modules, copies=copies_of(many_modules, module="xx").model_dump())
    with pytest.raises(ConfigError, match="holds no module 'xx' to copy"):
        measure_many_modules(wrong)


def test_each_copy_has_its_request(many_modules):
    made = requests_of_copies(many_modules.copies, many_modules.work, "<mask>")
    assert made == requests_of_copies(many_modules.copies, many_modules.work, "<mask>")
    assert [each.body["modules"] for each in made] == [[f"mn-bottleneck-{n}"] for n in range(9)]
    assert [each.body["language"] for each in made[:3]] == ["mn", "ko", "mn"]
    assert all("<mask>" in each.body["texts"][0] for each in made)
    many = requests_of_copies(copies_of(many_modules, count=90), many_modules.work, "<mask>")
    assert len({each.body["texts"][0] for each in many}) < 45


def test_some_modules_are_frequent_in_zipf_traffic_and_none_in_uniform(many_modules):
    asked = changed(many_modules, requests=5000)
    made = requests_of_copies(asked.copies, asked.work, "<mask>")
    zipf, again = (Counter(r.number for r in drawn(made, asked, "zipf", s)) for s in (1, 2))
    uniform = Counter(request.number for request in drawn(made, asked, "uniform", 1))
    assert zipf != again
    assert [number for number, _ in zipf.most_common(2)] == [n for n, _ in again.most_common(2)]
    ranks = np.arange(1, 10) ** -1.1
    assert zipf.most_common(1)[0][1] / 5000 == pytest.approx(1 / ranks.sum(), abs=0.03)
    assert max(uniform.values()) / 5000 == pytest.approx(1 / 9, abs=0.03)


def test_many_modules_are_measured_and_answer_as_alone(many_modules, tmp_path, monkeypatch):
    result = measure_many_modules(many_modules)
    places = [(point.slots, point.traffic) for point in result.points]
    assert places == [(9, "zipf"), (9, "uniform"), (2, "zipf"), (2, "uniform")]
    assert all(len(point.runs) == 2 and point.different == 0 for point in result.points)
    assert [point.hits for point in result.points[:2]] == [1, 1]
    assert all(0 <= point.hits < 1 for point in result.points[2:])
    assert result.points[0].banks_mib > result.points[2].banks_mib > 0
    result.save(tmp_path / "many-modules" / "many.json")
    assert ManyModulesResult.load(tmp_path / "many-modules" / "many.json") == result
    first, last = table(result).splitlines()[-2:]
    assert [cell.strip() for cell in first.split("|")][5::3] == ["1.00", "1.00"]
    speeds = [point.median("texts_per_second") for point in result.points[::2]]
    assert last.split("|")[5].strip() == f"{speeds[1] / speeds[0]:.2f}"
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:start -->\n<!-- bench:end -->\n", encoding="utf-8")
    assert write_tables(readme) == 1
    assert table(result) in readme.read_text(encoding="utf-8")


def test_copies_that_answer_alike_prove_nothing(many_modules, tmp_path, monkeypatch):
    few = tmp_path / "sentences.yaml"
    few.write_text("{mn: [Сайн байна уу.], ko: [안녕하세요.]}", encoding="utf-8")
    monkeypatch.setattr("benchmarks.workload.SENTENCES", few)
    faint = copies_of(many_modules, noise=1e-9).model_dump()
    alike = changed(many_modules, copies=faint, work={"endpoint": "embed", "languages": ["ko"]})
    with pytest.raises(ConfigError, match="answers as another does: more noise"):
        measure_many_modules(alike)


def test_a_wrong_module_is_counted(many_modules, monkeypatch):
    """Slots mixed up once all was asked alone: every answer under load is another's."""
    from service.bank import Bank

    slots = Bank._slots
    one = changed(many_modules, slots=[9], repetitions=1, traffics=["uniform"])

    def mixed_up(self, stacks):
        return slots(self, stacks if len(stacks) == 1 else [*stacks[1:], stacks[0]])

    monkeypatch.setattr(Bank, "_slots", mixed_up)
    assert measure_many_modules(one).points[0].different > 0


def test_churn_reads_the_memory_again_and_again(churn, tmp_path, monkeypatch):
    ranked = changed(churn, copies=copies_of(churn, ranks=(4, 12)).model_dump())
    result = measure_churn(ranked)
    assert [point.cycles for point in result.points] == [20, 40, 50]
    assert [point.evictions for point in result.points] == [18, 38, 48]
    assert all(point.resident_mib > 50 for point in result.points)
    assert result.growth == result.points[2].resident_mib - result.points[0].resident_mib
    result.save(tmp_path / "churn" / "churn.json")
    assert ChurnResult.load(tmp_path / "churn" / "churn.json") == result
    text = table(result)
    assert f"the process grew by {result.growth:.1f} MiB" in text
    assert [row.split("|")[1].strip() for row in text.splitlines()[-3:]] == ["20", "40", "50"]
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:start -->\n<!-- bench:end -->\n", encoding="utf-8")
    write_tables(readme)
    plot = f"plots/{churn.name}.png"
    assert f"{text}\n\n![{churn.title}]({plot})\n" in readme.read_text(encoding="utf-8")
    assert (tmp_path / plot).is_file()


def test_settings_are_refused_that_no_command_knows():
    with pytest.raises(ValueError, match="slots"):
        Churn.model_validate({"name": "x", "slots": 0})
    with pytest.raises(ValueError, match="exponent"):
        ManyModules.model_validate({"name": "x", "exponent": 0})
