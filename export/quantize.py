"""Smaller, faster graphs: 8-bit products with one scale a row.

Every row of activations has its own scale and integer sums have no rounding, so a row's numbers
depend neither on its batch nor on the machine's instructions. ``quantize_dynamic`` has one scale
for a whole tensor and breaks that; ``docs/decisions/0006`` has the numbers.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

LEVELS = 127
"""Steps to each side of zero, for weights and activations."""
ZERO = np.uint8(128)
"""What stands for 0 in activations."""
SIGNED_ZERO = np.int8(0)
"""And in weights, which are signed for the processors' own instructions (VNNI). On those without,
sums of pairs would saturate: ``langmod.sessions`` has ONNX Runtime make them unsigned there."""
SMALLEST_SCALE = np.float32(1e-12)
"""The scale of a row of zeros."""


def quantize_products(source: Path, target: Path) -> None:
    """Rewrites every product with a constant matrix to 8 bits; products with banks stay fp32.

    ``x [..., K] @ W [K, N]`` becomes ``(q(x) @ q(W)) * columns [N] * rows [..., 1]``, all of it in
    operators of plain ONNX. Where the product is multiplied with something else next, its columns
    are, which are fewer.
    """
    model = onnx.load(source)
    weights = {
        each.name: each
        for each in model.graph.initializer
        if each.data_type == TensorProto.FLOAT and len(each.dims) == 2
    }
    nodes: list[NodeProto] = []
    quantized: set[str] = set()
    factors = _factors(model.graph, weights.keys())
    products = {each.output[0]: product for product, each in factors.items()}
    by_output = {node.output[0]: node for node in model.graph.node if node.op_type == "MatMul"}
    for node in model.graph.node:
        product = by_output.get(products.get(node.output[0], node.output[0]))
        if product is None or product.input[1] not in weights:
            nodes.append(node)
        elif node.output[0] not in factors:
            activations, weight = product.input
            if activations not in quantized:
                nodes += _quantized_rows(activations)
                quantized.add(activations)
            factor = node.input[1] if node.op_type == "Mul" else None
            nodes += _integer_product(activations, node.output[0], factor)
            model.graph.initializer.extend(_quantized_columns(node.output[0], weights[weight]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if quantized:
        model.graph.initializer.extend(_constants())
    drop_unused(model)
    onnx.save(model, target)


def _quantized_rows(name: str) -> Iterator[NodeProto]:
    """``name.rows`` ``[..., 1]``, the scale of each row, and ``name.q``, the row in its steps."""
    yield helper.make_node("Abs", [name], [f"{name}.abs"])
    yield helper.make_node("ReduceMax", [f"{name}.abs", "q.axis"], [f"{name}.max"], keepdims=1)
    yield helper.make_node("Mul", [f"{name}.max", "q.step"], [f"{name}.raw"])
    yield helper.make_node("Max", [f"{name}.raw", "q.smallest"], [f"{name}.rows"])
    yield helper.make_node("Div", [name, f"{name}.rows"], [f"{name}.steps"])
    yield helper.make_node("QuantizeLinear", [f"{name}.steps", "q.one", "q.zero"], [f"{name}.q"])


def _factors(graph: GraphProto, weights: Collection[str]) -> dict[str, NodeProto]:
    """Product with a weight → the one node that reads it, where that multiplies it."""
    reads = Counter(_read(graph))
    products = {
        node.output[0] for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in weights
    }  # fmt: skip
    return {
        node.input[0]: node
        for node in graph.node
        if node.op_type == "Mul" and node.input[0] in products and reads[node.input[0]] == 1
    }


def _integer_product(activations: str, output: str, factor: str | None) -> Iterator[NodeProto]:
    columns = f"{output}.scale"
    if factor is not None:
        yield helper.make_node("Mul", [columns, factor], [f"{output}.columns"])
        columns = f"{output}.columns"
    inputs = [f"{activations}.q", f"{output}.weight", "q.zero", f"{output}.zero"]
    yield helper.make_node("MatMulInteger", inputs, [f"{output}.sums"])
    yield helper.make_node("Cast", [f"{output}.sums"], [f"{output}.float"], to=TensorProto.FLOAT)
    # In this order: the other one looks like what ONNX Runtime fuses for scales of other shapes.
    scaled = [f"{output}.float", f"{activations}.rows"]
    yield helper.make_node("Mul", scaled, [f"{output}.scaled"])
    yield helper.make_node("Mul", [f"{output}.scaled", columns], [output])


def _quantized_columns(output: str, weight: TensorProto) -> Iterator[TensorProto]:
    """Steps and zero of the product's own: ONNX Runtime 1.31 cannot change what two nodes share."""
    values = numpy_helper.to_array(weight)  # [K, N]
    columns = np.maximum(np.abs(values).max(axis=0, initial=0) / LEVELS, SMALLEST_SCALE)  # [N]
    steps = np.round(values / columns).astype(np.int8)
    yield numpy_helper.from_array(steps, f"{output}.weight")
    yield numpy_helper.from_array(np.asarray(SIGNED_ZERO), f"{output}.zero")
    yield numpy_helper.from_array(columns.astype(np.float32), f"{output}.scale")


def _constants() -> list[TensorProto]:
    values = {
        "q.axis": np.array([-1], np.int64),
        "q.step": np.float32(1 / LEVELS),
        "q.smallest": SMALLEST_SCALE,
        "q.one": np.float32(1),
        "q.zero": ZERO,
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def drop_unused(model: onnx.ModelProto) -> None:
    """Removes initializers that no node reads any more."""
    read = set(_read(model.graph))
    kept = [each for each in model.graph.initializer if each.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _read(graph: GraphProto) -> Iterator[str]:
    """What nodes read, those inside of branches too."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read(attribute.g)
