"""One graph with two ways through it: with slots, and without for a batch on the bare base.

Skipping banks place by place still costs an ``If`` and a copy at each; a batch without any module
takes the plain graph's way instead. Both ways share their weights. Those of 8 bits lie turned in
the file, and each way turns them for itself: what ONNX Runtime 1.31 makes of weights for a
processor it makes only of those that lie with their node (``langmod.sessions``), and what it turns
once as it opens the file does. In memory each product has a copy of its own anyway.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

LARGE = 1024
"""Bytes from which equal constants are stored once."""


def either_way(slotted: ModelProto, plain: ModelProto) -> ModelProto:
    """The slotted graph where any of ``slots [B, 2]`` is taken, the plain one elsewhere.

    The plain graph has the outputs of the slotted one, and some of its inputs.
    """
    inside, inside_plain = _beside_products(slotted.graph), _beside_products(plain.graph)
    products, products_plain = _product_weights(slotted.graph), _product_weights(plain.graph)
    weights = {each.name: each for each in _shared(slotted.graph, inside, products)}
    by_content = {_content(each): each.name for each in weights.values()}
    renamed = {}
    for each in _shared(plain.graph, inside_plain, products_plain):
        known = by_content.get(_content(each)) if len(each.raw_data) >= LARGE else None
        renamed[each.name] = known or f"plain.{each.name}"
        if known is None:
            weights[renamed[each.name]] = _named(each, renamed[each.name])
    branches = {
        "then_branch": _branch(slotted.graph, "slotted", {}, (inside, products)),
        "else_branch": _branch(plain.graph, "plain", renamed, (inside_plain, products_plain)),
    }
    outputs = [each.name for each in slotted.graph.output]
    nodes = [
        helper.make_node("ReduceMax", ["slots"], ["slots.highest"], keepdims=0),
        helper.make_node("Greater", ["slots.highest", "slots.bare"], ["slots.taken"]),
        helper.make_node("If", ["slots.taken"], outputs, **branches),
    ]
    bare = numpy_helper.from_array(np.array(0, np.int64), "slots.bare")
    graph = helper.make_graph(
        nodes,
        slotted.graph.name,
        slotted.graph.input,
        slotted.graph.output,
        [*weights.values(), bare],
    )
    made = helper.make_model(
        graph, opset_imports=slotted.opset_import, ir_version=slotted.ir_version
    )
    onnx.checker.check_model(made)
    return made


def _content(tensor: TensorProto) -> str:
    described = f"{tensor.data_type} {list(tensor.dims)} ".encode()
    return hashlib.sha256(described + tensor.raw_data).hexdigest()


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _beside_products(graph: GraphProto) -> set[str]:
    """The zeros of products of 8 bits."""
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    return {each for node in products for each in node.input[2:]}


def _product_weights(graph: GraphProto) -> set[str]:
    """Weights of 8 bits."""
    return {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}


def _shared(graph: GraphProto, inside: set[str], products: set[str]) -> Iterator[TensorProto]:
    """What lies around both ways, the weights of products turned."""
    for each in graph.initializer:
        if each.name in products:
            turned = np.ascontiguousarray(numpy_helper.to_array(each).T)
            yield numpy_helper.from_array(turned, _turned(each.name))
        elif each.name not in inside:
            yield each


def _turned(name: str) -> str:
    return f"{name}.turned"


def _branch(
    graph: GraphProto, name: str, renamed: dict[str, str], kinds: tuple[set[str], set[str]]
) -> GraphProto:
    """A graph's nodes with what lies inside; the rest comes from the graph around it.

    ``kinds`` are the names of the constants inside, and of the weights that it turns for itself.
    """
    inside, products = kinds
    made = {output: f"{name}.{output}" for node in graph.node for output in node.output}
    own = renamed | made | {each: f"{name}.{each}" for each in inside | products}
    turns = [
        helper.make_node("Transpose", [renamed.get(_turned(each), _turned(each))], [own[each]])
        for each in sorted(products)
    ]
    kept = [_named(each, own[each.name]) for each in graph.initializer if each.name in inside]
    outputs = [
        helper.make_tensor_value_info(
            own[each.name], each.type.tensor_type.elem_type, [None] * _axes(each)
        )
        for each in graph.output
    ]
    nodes = [*turns, *(_rewired(node, own) for node in graph.node)]
    return helper.make_graph(nodes, name, [], outputs, kept)


def _axes(value: onnx.ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def _rewired(node: NodeProto, renamed: dict[str, str]) -> NodeProto:
    """A node that reads and writes other names, in its own branches too."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [renamed.get(each, each) for each in node.input]
    copy.output[:] = [renamed.get(each, each) for each in node.output]
    for attribute in copy.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = [_rewired(each, renamed) for each in attribute.g.node]
            del attribute.g.node[:]
            attribute.g.node.extend(inner)
            for output in attribute.g.output:
                output.name = renamed.get(output.name, output.name)
    return copy
