"""Embedding tables in graphs: blocks of 4 bits are found again, and every row stays what it was."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.tables import BLOCK, VOCABULARY, blocks_of, pack_vocabulary, shrink_tables
from langmod.sessions import opened

ROWS, WIDTH = 80, 64


def of_blocks(seed=1):
    """A table of 4 bits, its numbers rounded to halves."""
    random = np.random.default_rng(seed)
    steps = random.integers(-8, 8, (ROWS, WIDTH // BLOCK, BLOCK))
    steps[..., 3] = -8
    scales = random.normal(size=(ROWS, WIDTH // BLOCK, 1)).astype(np.float16).astype(np.float32)
    return (steps * scales).astype(np.float16).astype(np.float32).reshape(ROWS, WIDTH)


def saved(table, path, lossy):
    """A graph that gathers, and the types of what it keeps."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["words"])],
        "gather",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"])],
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["B", "T", WIDTH])],
        [numpy_helper.from_array(table, "table")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    shrink_tables(path, lossy=lossy)
    kept = {each.name: each.data_type for each in onnx.load(path).graph.initializer}
    ids = np.array([[0, 7, 7], [ROWS - 1, 1, 40]])
    return kept, ids, opened(path).run(["words"], {"ids": ids})[0]


def test_four_bits_are_kept_to_the_last_bit(tmp_path):
    table = of_blocks()
    kept, ids, words = saved(table, tmp_path / "g.onnx", lossy=True)
    assert kept == {"table.steps": TensorProto.UINT8, "table.scales": TensorProto.FLOAT16}
    np.testing.assert_array_equal(words, table[ids])


@pytest.mark.parametrize("lossy", [True, False])
def test_another_table_is_halved(tmp_path, lossy):
    table = np.random.default_rng(2).normal(size=(ROWS, WIDTH)).astype(np.float32)
    kept, ids, words = saved(table, tmp_path / "g.onnx", lossy)
    name, kind = ("table.half", TensorProto.FLOAT16) if lossy else ("table", TensorProto.FLOAT)
    assert kept == {name: kind}
    np.testing.assert_array_equal(words, (table.astype(np.float16) if lossy else table)[ids])


def product(table, path):
    """A graph that multiplies with a vocabulary ``[V, D]``, and what it keeps."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "words"], ["logits"])],
        "vocabulary",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1, len(table)])],
        [numpy_helper.from_array(np.ascontiguousarray(table.T), "words")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    pack_vocabulary(path)
    return {each.name for each in onnx.load(path).graph.initializer}


def test_a_vocabulary_of_4_bits_is_multiplied_as_it_is(tmp_path):
    table = np.tile(of_blocks(), (VOCABULARY // ROWS + 1, 1))
    assert product(table, tmp_path / "g.onnx") == {"words.steps", "words.scales"}
    session = opened(tmp_path / "g.onnx")
    x = np.random.default_rng(3).normal(size=(9, 1, WIDTH)).astype(np.float32)
    found, wanted = session.run(None, {"x": x})[0], x @ table.T
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    for row in range(len(x)):
        alone = session.run(None, {"x": x[row : row + 1]})[0]
        np.testing.assert_allclose(alone[0], found[row], atol=1e-5 * np.abs(wanted).max())


def test_other_products_stay(tmp_path):
    wide = np.random.default_rng(4).normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    assert product(wide, tmp_path / "wide.onnx") == {"words"}
    assert product(of_blocks(), tmp_path / "narrow.onnx") == {"words"}


def test_a_block_of_zeros_is_one():
    table = of_blocks()
    table[5] = 0
    steps, scales = blocks_of(table)
    assert not scales[5].any()
    assert (steps[5] == 0x88).all()


def test_one_number_off_its_step_is_no_block():
    table = of_blocks()
    assert blocks_of(table) is not None
    table[3, 5] *= 1.01
    assert blocks_of(table) is None
    assert blocks_of(table[:, :40]) is None
