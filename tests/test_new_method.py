"""A method is one file: dropped into the package it is in yaml, graphs, banks, batches, tables."""

import importlib
import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import adaptation.methods
from adaptation.architectures import load_base
from adaptation.methods import METHODS
from export.checkpoint import ModuleDescription
from export.graph import export_graphs
from export.module import export_module
from langmod.errors import ConfigError
from langmod.specs import ROLES, ROW_TOLERANCE, GraphSpec
from langmod.store import ModuleStore
from service.encoder import EncoderEngine
from service.schemas import EmbedRequest
from service.settings import Settings
from service.tables import Tables
from tests import methods_table
from tests.adaptation.models import module_for
from tests.adaptation.references import REFERENCES, Reference
from tests.text import SENTENCES
from training.modules.settings import ModuleConfig

FOLDER = Path(__file__).parent / "new_method"
NAME = "feature_shift"
YAML = """
name: kk-new
base: models/tiny-encoder
role: language
method: {method}
method_config: {{size: 2.0}}
language: kk
corpus: corpora/toy
out: runs/kk-new
optimisation: {{steps: 1, batch_size: 1, learning_rate: 0.001}}
"""


def drop_in():
    return importlib.import_module(f"adaptation.methods.{NAME}")


@pytest.fixture
def dropped_in(monkeypatch):
    """The file as if it lay in ``adaptation/methods``, for one test."""
    monkeypatch.setattr(adaptation.methods, "__path__", [*adaptation.methods.__path__, str(FOLDER)])
    yield drop_in
    METHODS.pop(NAME, None)
    sys.modules.pop(f"adaptation.methods.{NAME}", None)
    vars(adaptation.methods).pop(NAME, None)


def test_yaml_takes_it_by_name(dropped_in, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(YAML.format(method=NAME))
    with pytest.raises(ConfigError, match="method is 'feature_shift'; allowed: bitfit"):
        ModuleConfig.load(path).checked()
    dropped_in()
    assert ModuleConfig.load(path).checked().method == NAME
    assert NAME in METHODS


def test_parity_tables_take_it_in_and_ask_for_its_library(dropped_in, monkeypatch):
    before = methods_table.cells()
    dropped_in()
    added = [each for each in methods_table.cells() if each not in before]
    assert {(each.method, each.role) for each in added} == {(NAME, role) for role in ROLES}
    assert len(added) == len(ROLES) * len(methods_table.COLUMNS)
    assert methods_table.without_reference() == [NAME]
    own = Reference("its own arithmetic", by_hand)
    monkeypatch.setitem(REFERENCES, NAME, {"encoder": own, "translator": own})
    assert methods_table.without_reference() == []
    assert all(max(methods_table.measured(each).values()) <= methods_table.MOST for each in added)
    page = methods_table.without_numbers(methods_table.page(methods_table.outlines()))
    assert f"| `{NAME}` | `tag` | ✓ N · N its own arithmetic |" in page


def by_hand(base, folder):
    """The base with the vectors added to its biases."""
    _, tensors = METHODS[NAME].read(folder, base)
    for stack in base.towers():
        for layer, own in enumerate(stack.layers):
            linear = own.get_submodule(stack.sublayers["output"].output)
            linear.bias.data += tensors[f"{NAME}.{stack.name}.shift"][layer, 0]
    return base.model


def test_it_is_exported_published_and_mixes_in_a_batch(dropped_in, tiny_encoder, tmp_path):
    folder = tmp_path / tiny_encoder.name
    shutil.copytree(tiny_encoder, folder)
    banks = GraphSpec.load(folder / "onnx" / "fp32").banks
    assert not [bank for bank in banks if NAME in bank.name]
    dropped_in()
    spec = export_graphs(folder, "fp32")
    own = [bank for bank in spec.banks if NAME in bank.name]
    assert [bank.role for bank in own] == list(ROLES)
    assert {bank.name for bank in own} <= set(spec.graphs["body"].banks)
    base = load_base(folder)
    for seed, method in enumerate((NAME, "lora")):
        config = METHODS[method].Config()
        tensors = module_for(base, METHODS[method], config, seed)
        METHODS[method].write(tmp_path / method, config, tensors, base)
        tag = ("kk", "ko")[seed]
        name = method.replace("_", "-")
        export_module(tmp_path / method, folder, ModuleDescription(name=name, languages=(tag,)))
    module = ModuleStore(folder / "modules").load("feature-shift")
    tables = Tables(spec.banks, "language")
    tables.lay_out(tables.bare.beside(tables.widths(module)), {})
    tables.write(1, module)
    table = tables.current[own[0].name].tensor
    np.testing.assert_array_equal(table[:, 1], module.tensors[own[0].tensor])
    assert not table[:, 0].any()
    check_mixed(folder)


def check_mixed(folder):
    """Rows of the new method, of another and of the bare base answer as they do alone."""
    engine = EncoderEngine(folder, Settings(precision="fp32", threads=1), None)
    ready = [
        engine._plan("embed", EmbedRequest(texts=[text], language=tag))(0, text)
        for tag, text in itertools.product(("kk", "ko", "en"), SENTENCES["en"][:2])
    ]
    rows = [each.row for each in ready]
    answers = [(each, *engine.run([each.row])) for each in ready]
    alone = np.array([each.finish([output])["vector"] for each, output in answers])
    batches, execute = [], engine.execute
    engine.execute = lambda some, pinned: batches.append(len(some)) or execute(some, pinned)
    outputs = zip(ready, engine.run(rows), strict=True)
    mixed = np.array([each.finish([output])["vector"] for each, output in outputs])
    engine.close()
    assert batches == [len(rows)]
    for one, other in itertools.combinations((0, 2, 4), 2):
        assert np.abs(alone[one] - alone[other]).max() > 0.01
    np.testing.assert_allclose(mixed, alone, atol=ROW_TOLERANCE, rtol=0)
