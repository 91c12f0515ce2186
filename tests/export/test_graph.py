"""Exported graphs: parity in both precisions, nothing left behind on failure, row invariance."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from export import graph as graph_module
from export.graph import export_graphs
from export.graphs import Sizes, random_banks
from export.parity import INT8_TOLERANCE, ParityError
from langmod.errors import ConfigError
from langmod.sessions import opened
from langmod.specs import FP32_TOLERANCE, ROW_TOLERANCE, GraphSpec
from tests.bases import make_base

PRECISIONS = ("fp32", "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["encoder", "translator"])
def test_every_graph_states_its_parity(models_folder, kind, precision):
    spec = GraphSpec.load(models_folder / f"tiny-{kind}" / "onnx" / precision)
    limit = FP32_TOLERANCE if precision == "fp32" else INT8_TOLERANCE
    assert {each.graph for each in spec.parity} == set(spec.graphs)
    assert all(each.max_difference <= each.tolerance == limit for each in spec.parity)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_never_depends_on_its_neighbours(tiny_encoder, precision):
    folder = tiny_encoder / "onnx" / precision
    session = opened(folder / "body.onnx")
    spec = GraphSpec.load(folder)
    generator = np.random.default_rng(0)
    taken = [bank for bank in spec.banks if bank.name in spec.graphs["body"].banks]
    drawn = random_banks(taken, Sizes(slots=13, rank=3), torch.Generator().manual_seed(3))
    banks = {name: tensor.numpy() * (1 if name.endswith(".marks") else 3)
             for name, tensor in drawn.items()}  # fmt: skip
    width = spec.base.width

    def run(words, lengths, slots):
        rows, tokens = words.shape[:2]
        mask = (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int64)
        positions = np.tile(np.arange(tokens) + spec.base.first_position, (rows, 1))
        feed = {"words": words, "mask": mask, "positions": positions, "slots": slots}
        return session.run(None, feed | banks)[0]

    words = generator.normal(size=(16, 12, width)).astype(np.float32)
    words[2] *= 30  # an outlier that a scale per tensor would smear over its neighbours
    lengths = generator.integers(3, 13, 16)
    slots = generator.integers(0, 13, (16, 2))
    slots[0] = 0
    together = run(words, lengths, slots)
    for row, length in enumerate(lengths):
        alone = run(words[row : row + 1, :length], [length], slots[row : row + 1])
        np.testing.assert_allclose(together[row, :length], alone[0], rtol=0, atol=ROW_TOLERANCE)
    assert np.abs(run(words, lengths, slots[::-1].copy()) - together).max() > 1e-2


def test_invertible_adapters_cost_the_vocabulary_one_if_and_no_precision(tiny_encoder):
    """Skipped while none is loaded; the products of the head around them stay in 8 bits."""
    nodes = onnx.load(tiny_encoder / "onnx" / "int8" / "fill_mask.onnx").graph.node
    kinds = Counter(node.op_type for node in nodes)
    assert (kinds["MatMulInteger"], kinds["MatMul"], kinds["Gemm"], kinds["If"]) == (2, 0, 0, 1)
    last = [node for node in nodes if node.op_type == "MatMulInteger"][-1]
    skipped = next(node for node in nodes if node.op_type == "If")
    assert last.input[0] == f"{skipped.output[0]}.q"
    banks = GraphSpec.load(tiny_encoder / "onnx" / "int8").graphs["fill_mask"].banks
    assert banks
    assert all(".invertible." in each or each.endswith(".marks") for each in banks)


@pytest.mark.parametrize("kind", ["encoder", "translator"])
def test_weights_of_products_lie_where_they_are_made_exact(models_folder, kind):
    """ONNX Runtime makes signed weights fit for a processor only in the graph of their node."""
    found = 0
    for path in sorted((models_folder / f"tiny-{kind}" / "onnx" / "int8").glob("*.onnx")):
        model = onnx.load(path)
        every = {each.name for each in model.graph.initializer
                 if each.data_type == onnx.TensorProto.INT8}  # fmt: skip
        for graph in graphs_within(model.graph):
            signed = {each.name for each in graph.initializer
                      if each.data_type == onnx.TensorProto.INT8}  # fmt: skip
            turned = {node.output[0] for node in graph.node
                      if node.op_type == "Transpose" and node.input[0] in every}  # fmt: skip
            for node in graph.node:
                if node.op_type == "MatMulInteger":
                    assert node.input[1] in signed | turned, (path.name, node.input)
                    assert node.input[3] in signed, (path.name, node.input)
                    found += 1
    assert found > 20


def graphs_within(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_within(attribute.g)


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_a_failed_check_leaves_nothing_behind(tmp_path, monkeypatch, factor):
    base = tmp_path / "base"
    make_base(base, "encoder")
    straight = graph_module.shrink_tables

    def spoil(path, lossy):
        from onnx import numpy_helper

        straight(path, lossy)
        model = onnx.load(path)
        for initializer in model.graph.initializer:
            values = numpy_helper.to_array(initializer)
            if values.dtype == np.float32 and values.size > 1000:
                initializer.CopyFrom(
                    numpy_helper.from_array((values * factor).astype(np.float32), initializer.name)
                )
        onnx.save(model, path)

    monkeypatch.setattr(graph_module, "shrink_tables", spoil)
    with pytest.raises(ParityError, match=r"body differs from torch by"):
        export_graphs(base, "fp32")
    assert not list((base / "onnx").iterdir())


def test_changed_weights_are_noticed(tmp_path):
    base = tmp_path / "base"
    make_base(base, "encoder")
    config = base / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ConfigError, match=r"changed after base\.json was written"):
        export_graphs(base, "fp32")


def test_training_and_serving_share_the_arithmetic(tiny_encoder):
    """The exported body with one module equals the torch model that training ran."""
    from adaptation.architectures import load_base
    from adaptation.banks import stack_banks
    from adaptation.methods import METHODS
    from adaptation.rows import Rows
    from adaptation.slot_sources import FixedSource
    from adaptation.slotted import SlottedBase
    from tests.adaptation.models import module_for

    base = load_base(tiny_encoder)
    slotted = SlottedBase(base).eval()
    spec = GraphSpec.load(tiny_encoder / "onnx" / "fp32")
    session = opened(tiny_encoder / "onnx" / "fp32" / "body.onnx")
    ids = torch.randint(5, 500, (2, 9))
    for name, method in METHODS.items():
        tensors = module_for(base, method, method.Config(), 4)
        named = {f"language.{key}": value for key, value in tensors.items()}
        with torch.no_grad(), slotted.using(FixedSource(named)):
            expected = base.backbone(input_ids=ids).last_hidden_state
            rows = slotted.enter(Rows(ids, base.words(ids), torch.ones_like(ids)))
        tokens = rows.words.shape[1]
        feed = {
            "words": rows.words.numpy(),
            "mask": rows.mask.numpy(),
            "positions": np.tile(np.arange(tokens) + spec.base.first_position, (2, 1)),
            "slots": np.array([[1, 0], [1, 0]]),
        }
        stacked = stack_banks(spec.banks, [("language", tensors)])
        for bank in spec.banks:
            if bank.name in spec.graphs["body"].banks:
                shape = [2 if a == f"S.{bank.role}" else 0 if isinstance(a, str) else a
                         for a in bank.shape]  # fmt: skip
                feed[bank.name] = stacked.get(bank.name, torch.zeros(shape)).numpy()
        found = torch.from_numpy(session.run(None, feed)[0])
        with slotted.using(FixedSource(named)):
            slotted.enter(Rows(ids, base.words(ids), torch.ones_like(ids)))
            found = slotted.leave(found)
        assert (found - expected).abs().max() <= FP32_TOLERANCE, name
