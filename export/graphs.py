"""What every exported graph is: named tensors in, banks in, named tensors out.

The parts of an encoder are in ``encoder_graphs``, those of a translator in ``translator_graphs``.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from langmod.architectures import EncoderArchitecture
from langmod.branching import SlotSource
from langmod.slotted import BankSource, SlottedBase, banks_of
from langmod.specs import ROLES, Axis, BankSpec, TensorSpec

Feed = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the dynamic axes of an example feed."""

    rows: int = 3
    tokens: int = 7
    slots: int = 3
    rank: int = 2
    beams: int = 2
    seed: int = 0


class SlottedGraph(nn.Module):
    """One part of a base as it is exported; ``name`` is the file's stem."""

    name: ClassVar[str]

    def __init__(self, slotted: SlottedBase) -> None:
        super().__init__()
        self.slotted = slotted
        self.config = slotted.config
        self.eval()
        asked = self.asked_banks()
        self.banks: tuple[BankSpec, ...] = tuple(
            bank
            for bank in banks_of(slotted.architecture)
            if bank.name in asked and bank.held == "slots"
        )

    @property
    def layered(self) -> bool:
        """Whether it runs layers of the base, which the bare base runs without banks."""
        return False

    @property
    @abstractmethod
    def takes(self) -> tuple[TensorSpec, ...]:
        """Inputs besides the banks, in order."""

    @property
    @abstractmethod
    def gives(self) -> tuple[TensorSpec, ...]:
        """Outputs, in order."""

    @abstractmethod
    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        """The arithmetic."""

    @abstractmethod
    def example(self, sizes: Sizes) -> Feed:
        """Random valid inputs besides the banks."""

    def forward(self, feed: Feed) -> Feed:
        """Runs on inputs and banks by name, all in one mapping."""
        source = BankSource(feed, feed.get("slots", torch.zeros(1, 2, dtype=torch.int64)))
        with self.slotted.using(source):
            return self.compute(feed, source)

    def feed(self, sizes: Sizes) -> Feed:
        """A whole example feed: inputs, then banks whose slot 0 is zero."""
        generator = torch.Generator().manual_seed(sizes.seed + 1)
        return self.example(sizes) | {
            bank.name: random_bank(bank, sizes, generator) for bank in self.banks
        }

    def asked_banks(self) -> set[str]:
        """Names of the banks that hooks ask for while this part runs."""
        recorder = _Recorder()
        with torch.no_grad(), self.slotted.using(recorder):
            self.compute(self.example(Sizes()), recorder)
        return recorder.names


class EncoderGraph(SlottedGraph):
    """A part of an encoder base."""

    @property
    def encoder(self) -> EncoderArchitecture:
        """The base's architecture."""
        found = self.slotted.architecture
        if not isinstance(found, EncoderArchitecture):
            raise TypeError(f"{type(found).__name__} is no encoder")
        return found

    @property
    def width(self) -> int:
        """D."""
        return self.encoder.width


class PlainGraph(SlottedGraph):
    """A slotted graph without its slots: what a batch on the bare base runs."""

    def __init__(self, graph: SlottedGraph) -> None:
        self.name = graph.name  # type: ignore[misc]
        object.__setattr__(self, "graph", graph)
        super().__init__(graph.slotted)

    graph: SlottedGraph

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs without its slots."""
        return tuple(each for each in self.graph.takes if each.name != "slots")

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self.graph.gives

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        """The graph's arithmetic on the bare base."""
        with self.slotted.using(None):
            return self.graph.compute(feed, source)

    def example(self, sizes: Sizes) -> Feed:
        """The graph's example without its slots."""
        return {name: value for name, value in self.graph.example(sizes).items() if name != "slots"}


class _Recorder:
    """A source with nothing loaded that notes what it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find(self, name: str, layer: int | None) -> None:
        """Notes the name; no module is loaded."""
        del layer
        self.names.add(name)


def random_bank(bank: BankSpec, sizes: Sizes, generator: torch.Generator) -> Tensor:
    """A bank of random modules in every slot but 0."""
    shape = [
        sizes.slots if axis == f"S.{bank.role}" else sizes.rank if isinstance(axis, str) else axis
        for axis in bank.shape
    ]
    values = torch.randn(shape, generator=generator) * 0.1
    values.select(bank.slot_axis, 0).zero_()
    return values


def random_slots(rows: int, sizes: Sizes, generator: torch.Generator) -> Tensor:
    """Slots ``[B, 2]``, the first row on the bare base."""
    slots = torch.randint(0, sizes.slots, (rows, len(ROLES)), generator=generator)
    slots[0] = 0
    return slots


def ragged_mask(rows: int, tokens: int) -> Tensor:
    """Attention mask ``[B, T]`` of rows that get shorter by one token each."""
    lengths = (tokens - torch.arange(rows)).clamp(min=1)
    return (torch.arange(tokens) < lengths.unsqueeze(1)).long()


def ints(name: str, *shape: Axis) -> TensorSpec:
    """An int64 tensor."""
    return TensorSpec(name=name, dtype="int64", shape=shape)


def floats(name: str, *shape: Axis) -> TensorSpec:
    """An fp32 tensor."""
    return TensorSpec(name=name, dtype="float32", shape=shape)
