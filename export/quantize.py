"""Smaller graphs: 8-bit products that keep a row independent of its neighbours, halved tables.

``MatMulNBits`` quantises weights in blocks and activations row by row, so a row's numbers never
depend on its batch; ``quantize_dynamic`` has one activation scale per tensor and breaks that.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)

BLOCK = 128
INT8_COMPUTE = 4
"""``accuracy_level`` of MatMulNBits: activations are quantised to 8 bits, per row and block."""
TABLE_ROWS = 64
"""Gathered constants with at least this many rows are embedding tables."""


def quantize_products(source: Path, target: Path) -> None:
    """Rewrites every product with a constant matrix to 8 bits; products with banks stay fp32."""
    config = DefaultWeightOnlyQuantConfig(
        block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_COMPUTE, bits=8
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    onnx.save(quantizer.model.model, target)


def halve_tables(path: Path, lossy: bool) -> None:
    """Stores embedding tables as fp16 and widens the gathered rows.

    Nothing is lost with our own bases, whose weights are kept in fp16; other tables are left alone
    unless ``lossy``.
    """
    model = onnx.load(path)
    tables = {
        initializer.name: initializer
        for initializer in model.graph.initializer
        if initializer.data_type == TensorProto.FLOAT
        and len(initializer.dims) == 2
        and initializer.dims[0] >= TABLE_ROWS
        and (lossy or _fits_halves(numpy_helper.to_array(initializer)))
    }
    gathers = [
        node for node in model.graph.node if node.op_type == "Gather" and node.input[0] in tables
    ]
    for node in gathers:
        halves = f"{node.input[0]}.half"
        if all(each.name != halves for each in model.graph.initializer):
            values = numpy_helper.to_array(tables[node.input[0]]).astype(np.float16)
            model.graph.initializer.append(numpy_helper.from_array(values, halves))
        widened, node.output[0] = node.output[0], f"{node.output[0]}.half"
        node.input[0] = halves
        cast = helper.make_node("Cast", [node.output[0]], [widened], to=TensorProto.FLOAT)
        model.graph.node.insert(list(model.graph.node).index(node) + 1, cast)
    drop_unused(model)
    onnx.save(model, path)


def _fits_halves(values: NDArray[np.float32]) -> bool:
    return bool((values.astype(np.float16) == values).all())


def drop_unused(model: onnx.ModelProto) -> None:
    """Removes initializers that no node reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [each for each in model.graph.initializer if each.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
