"""Optimum's description of a slotted graph, made from what the graph itself declares."""

from collections.abc import Mapping
from typing import ClassVar

from optimum.exporters.onnx import OnnxConfig
from optimum.utils import NormalizedConfig
from optimum.utils.input_generators import DummyInputGenerator
from torch import nn

from export.graphs import Feed, Sizes, SlottedGraph
from export.symbolics import OPSET
from langmod.specs import FP32_TOLERANCE, BankSpec, TensorSpec

Axes = dict[str, dict[int, str]]


class FeedGenerator(DummyInputGenerator):
    """Example inputs and banks of a graph, all in the one mapping that its forward takes."""

    SUPPORTED_INPUT_NAMES = ("feed",)

    def __init__(self, graph: SlottedGraph, sizes: Sizes) -> None:
        self.graph, self.sizes = graph, sizes

    def generate(
        self,
        input_name: str,
        framework: str = "pt",
        int_dtype: str = "int64",
        float_dtype: str = "fp32",
    ) -> Feed:
        """The feed, always of torch tensors with the declared types."""
        return self.graph.feed(self.sizes)


class SlottedOnnxConfig(OnnxConfig):
    """Inputs, outputs and dynamic axes of one ``SlottedGraph`` for Optimum's exporter."""

    NORMALIZED_CONFIG_CLASS = NormalizedConfig
    DUMMY_INPUT_GENERATOR_CLASSES: ClassVar[tuple[type[DummyInputGenerator], ...]] = (
        FeedGenerator,
    )
    ATOL_FOR_VALIDATION = FP32_TOLERANCE
    DEFAULT_ONNX_OPSET = OPSET

    def __init__(self, graph: SlottedGraph) -> None:
        super().__init__(graph.config, task="feature-extraction")
        self.graph = graph

    @property
    def inputs(self) -> Axes:
        """The graph's inputs, then its banks, as one flat list."""
        return _axes([*self.graph.takes, *self.graph.banks])

    @property
    def outputs(self) -> Axes:
        """The graph's outputs."""
        return _axes(self.graph.gives)

    def fix_dynamic_axes(self, *_: object, **__: object) -> None:
        """Leaves outputs as they are: what an ``If`` gives has axes of other names than ours."""

    def ordered_inputs(self, model: nn.Module) -> Axes:
        """The declared order: the graph's forward takes one mapping in this order."""
        return self.inputs

    def generate_dummy_inputs(self, framework: str = "pt", **sizes: int) -> Mapping[str, Feed]:
        """``{"feed": ...}`` with inputs and banks."""
        generator = FeedGenerator(self.graph, Sizes(**sizes))
        return {"feed": generator.generate("feed", framework)}


def _axes(tensors: list[TensorSpec | BankSpec] | tuple[TensorSpec, ...]) -> Axes:
    return {
        tensor.name: {
            place: axis for place, axis in enumerate(tensor.shape) if isinstance(axis, str)
        }
        for tensor in tensors
    }
