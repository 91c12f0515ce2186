"""Embedding tables in graphs: blocks of 4 bits are found again, and every row stays what it was."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.tables import BLOCK, blocks_of, shrink_tables
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
