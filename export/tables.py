"""Tables of words in graphs: 4 bits where nothing is lost by it, halves elsewhere."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.quantize import drop_unused

TABLE_ROWS = 64
"""Gathered constants with at least this many rows are embedding tables."""
VOCABULARY = 4096
"""Columns from which on a product is one with a vocabulary."""
BLOCK = 32
"""Numbers of a row that share a scale."""
MIDDLE = 8
"""The step of 4 bits that stands for 0; the lowest is -8."""
MICROSOFT = "com.microsoft"
IN_8_BITS = 4
"""``accuracy_level`` of ONNX Runtime's products that round activations to 8 bits."""


class Blocks(NamedTuple):
    """A table ``[V, D]`` in 4 bits."""

    steps: NDArray[np.uint8]
    """``[V, D / 2]``, the first of two numbers in the low half."""
    scales: NDArray[np.float16]
    """``[V, D / 32]``"""


def shrink_tables(path: Path, lossy: bool) -> None:
    """Stores the embedding tables of a graph in 4 bits or as fp16, and widens the gathered rows.

    Nothing is lost with our own bases, whose weights are kept in fp16, and with those that came in
    4 bits. Other tables are left alone unless ``lossy``, which makes them fp16.
    """
    model = onnx.load(path)
    tables = {
        each.name: numpy_helper.to_array(each)
        for each in model.graph.initializer
        if each.data_type == TensorProto.FLOAT
        and len(each.dims) == 2
        and each.dims[0] >= TABLE_ROWS
    }
    for node in list(model.graph.node):
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        table = tables[node.input[0]]
        if lossy or bool((table.astype(np.float16) == table).all()):
            _shrink(model, node, blocks_of(table) if lossy else None, table)
    drop_unused(model)
    onnx.save(model, path)


def _shrink(
    model: ModelProto, node: NodeProto, blocks: Blocks | None, table: NDArray[np.float32]
) -> None:
    """Makes a gather read halves or blocks."""
    name = node.input[0]
    widened, node.output[0] = node.output[0], f"{node.output[0]}.half"
    if blocks is None:
        _add(model.graph, f"{name}.half", table.astype(np.float16))
        node.input[0] = f"{name}.half"
    else:
        _add(model.graph, f"{name}.steps", blocks.steps)
        _add(model.graph, f"{name}.scales", blocks.scales)
        gather = helper.make_node(
            "GatherBlockQuantized",
            [f"{name}.steps", node.input[1], f"{name}.scales"],
            [node.output[0]],
            domain=MICROSOFT,
            bits=4,
            block_size=BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )
        node.CopyFrom(gather)
        use_microsoft(model)
    cast = helper.make_node("Cast", [node.output[0]], [widened], to=TensorProto.FLOAT)
    model.graph.node.insert(list(model.graph.node).index(node) + 1, cast)


def pack_vocabulary(path: Path) -> None:
    """Rewrites products with a vocabulary that came in 4 bits: they read 4 bits as they are.

    Activations are rounded to 8 bits, block by block of each row, so that rows stay their own.
    """
    model = onnx.load(path)
    weights = {
        each.name: numpy_helper.to_array(each)
        for each in model.graph.initializer
        if each.data_type == TensorProto.FLOAT
        and len(each.dims) == 2
        and each.dims[1] >= VOCABULARY
    }
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            continue
        name, table = node.input[1], np.ascontiguousarray(weights[node.input[1]].T)  # [V, D]
        blocks = blocks_of(table)
        if blocks is None:
            continue
        rows, width = table.shape
        _add(model.graph, f"{name}.steps", blocks.steps.reshape(rows, -1, BLOCK // 2))
        _add(model.graph, f"{name}.scales", blocks.scales.astype(np.float32).reshape(-1))
        product = helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{name}.steps", f"{name}.scales"],
            list(node.output),
            domain=MICROSOFT,
            K=width,
            N=rows,
            bits=4,
            block_size=BLOCK,
            accuracy_level=IN_8_BITS,
        )
        node.CopyFrom(product)
        use_microsoft(model)
    drop_unused(model)
    onnx.save(model, path)


def use_microsoft(model: ModelProto) -> None:
    """Says that a model uses ONNX Runtime's own operators."""
    if all(each.domain != MICROSOFT for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def _add(graph: GraphProto, name: str, values: NDArray[np.generic]) -> None:
    if all(each.name != name for each in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(values, name))


def blocks_of(table: NDArray[np.float32]) -> Blocks | None:
    """The blocks that a table of halves was made from; None where it was not.

    Where 4 bits are cut as they usually are, each block's number farthest from 0 is its step -8, so
    that the scale can be read from it.
    """
    rows, width = table.shape
    if width % BLOCK:
        return None
    values = table.reshape(-1, BLOCK)
    farthest = values[np.arange(len(values)), np.abs(values).argmax(axis=1)]
    scales = (farthest / -MIDDLE).astype(np.float16)[:, None]
    wide = scales.astype(np.float32)
    raw = np.divide(values, wide, out=np.zeros_like(values), where=wide != 0)
    steps = np.clip(np.round(raw), -MIDDLE, MIDDLE - 1)
    if not (steps * wide == values).all() and not _same_halves(steps * wide, values):
        return None
    bytes_ = (steps + MIDDLE).astype(np.uint8).reshape(rows, width)
    packed = bytes_[:, ::2] | bytes_[:, 1::2] << 4
    return Blocks(packed, scales.reshape(rows, width // BLOCK))


def _same_halves(found: NDArray[np.float32], values: NDArray[np.float32]) -> bool:
    return bool((found.astype(np.float16) == values.astype(np.float16)).all())
