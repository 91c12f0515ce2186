"""8-bit products: close to fp32, and a row's numbers are its own to the last bit."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.quantize import quantize_products
from langmod.sessions import opened

ROWS, WIDTH, COLUMNS = 6, 96, 40


@pytest.fixture(scope="module")
def weight():
    return np.random.default_rng(1).normal(size=(WIDTH, COLUMNS)).astype(np.float32)


@pytest.fixture(scope="module")
def session(weight, tmp_path_factory):
    return quantized(weight, tmp_path_factory.mktemp("quantized") / "product.onnx")


def quantized(weight, path):
    """Two products of one input with the same weight, the second after a doubling."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["once"]),
        helper.make_node("Add", ["x", "x"], ["twice_x"]),
        helper.make_node("MatMul", ["twice_x", "weight"], ["twice"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", WIDTH])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "T", COLUMNS])
            for name in ("once", "twice")
        ],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    quantize_products(path, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} >= {"MatMulInteger", "QuantizeLinear"}
    assert all(node.op_type != "MatMul" for node in model.graph.node)
    assert {each.name for each in model.graph.initializer} >= {"once.weight", "twice.scale"}
    assert "weight" not in {each.name for each in model.graph.initializer}
    return opened(path)


def activations(seed=2):
    return np.random.default_rng(seed).normal(size=(ROWS, 3, WIDTH)).astype(np.float32)


def test_products_are_close_to_fp32(session, weight):
    x = activations()
    once, twice = session.run(["once", "twice"], {"x": x})
    for found, expected in ((once, x @ weight), (twice, 2 * (x @ weight))):
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
        assert np.abs(found - expected).max() > 0, "8 bits are not exact"


def test_an_outlier_changes_no_other_row(session):
    x = activations()
    quiet = session.run(["once"], {"x": x})[0]
    x[0, 0, 5] = 1e4
    loud = session.run(["once"], {"x": x})[0]
    assert not np.array_equal(loud[0, 0], quiet[0, 0])
    np.testing.assert_array_equal(loud[1:], quiet[1:])
    np.testing.assert_array_equal(loud[0, 1:], quiet[0, 1:])


def test_a_row_alone_is_the_row_in_its_batch(session):
    x = activations()
    together = session.run(["once"], {"x": x})[0]
    for place in range(ROWS):
        alone = session.run(["once"], {"x": x[place : place + 1]})[0]
        np.testing.assert_array_equal(alone[0], together[place])


def test_rows_of_zeros_stay_zeros(session):
    found = session.run(["once"], {"x": np.zeros((2, 1, WIDTH), np.float32)})[0]
    assert not found.any()


def test_sums_of_the_largest_steps_are_exact(tmp_path):
    """Where pairs of products are added in 16 bits they would be cut off at 32,767."""
    signs = np.random.default_rng(3).choice([-1.0, 1.0], (2, WIDTH, COLUMNS)).astype(np.float32)
    weight, x = signs[0], signs[1].T[:ROWS].reshape(ROWS, 1, WIDTH).copy()
    x[0], weight[:, 0] = 1, 1
    (once,) = quantized(weight, tmp_path / "extremes.onnx").run(["once"], {"x": x})
    np.testing.assert_allclose(once, x @ weight, rtol=1e-5, atol=1e-4)
    assert once[0, 0, 0] == pytest.approx(WIDTH)
