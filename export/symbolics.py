"""Our operators on rows as ONNX nodes: torch's exports of the same indexing are slower.

They copy all slots of a layer first, and work out shapes at every call.
"""

from typing import Protocol

from torch._C import Value
from torch.onnx.utils import register_custom_op_symbolic

OPSET = 18


class _Graph(Protocol):
    """The part of the exporter's graph that a symbolic uses."""

    def op(self, name: str, *inputs: Value) -> Value:
        """Adds one node."""
        ...


def _gather_nd(graph: _Graph, bank: Value, places: Value) -> Value:
    return graph.op("GatherND", bank, places)


def _scatter_nd(graph: _Graph, value: Value, rows: Value, part: Value) -> Value:
    return graph.op("ScatterND", value, rows, part)


register_custom_op_symbolic("langmod::gather_rows", _gather_nd, OPSET)
register_custom_op_symbolic("langmod::put_rows", _scatter_nd, OPSET)
