"""What every exported graph is: named tensors in, banks in, named tensors out.

The parts of an encoder are in ``encoder_graphs``, those of a translator in ``translator_graphs``.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adaptation.architectures import EncoderArchitecture
from adaptation.banks import banks_of
from adaptation.branching import SlotSource
from adaptation.slot_sources import BankSource
from adaptation.slotted import SlottedBase
from export.composing import Composer
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
        slotted.composed_by = Composer
        self.slotted = slotted
        self.config = slotted.config
        self.eval()
        asked = self.asked_banks()
        known = banks_of(slotted.architecture)
        own = [bank for bank in known if bank.name in asked and bank.held == "slots"]
        # Where rows are told apart by places, their marks tell them.
        marks = [bank for bank in known if bank.marks and any(each.place for each in own)]
        self.banks: tuple[BankSpec, ...] = (*own, *marks)

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
        """A whole example feed: inputs, then banks of random modules, each of one method."""
        generator = torch.Generator().manual_seed(sizes.seed + 1)
        return self.example(sizes) | random_banks(self.banks, sizes, generator)

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


class _Recorder(SlotSource):
    """A source with nothing loaded that notes what it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find(self, name: str, layer: int | None) -> None:
        """Notes the name; no module is loaded."""
        del layer
        self.names.add(name)


def random_banks(
    banks: Sequence[BankSpec], sizes: Sizes, generator: torch.Generator
) -> dict[str, Tensor]:
    """Banks with a random module in every slot but 0, the methods of a role in turn."""
    found = {}
    for role in ROLES:
        own = [bank for bank in banks if bank.role == role]
        methods = sorted({_method(bank.tensor) for bank in own if bank.place is not None})
        places = [(number + sizes.seed) % max(len(methods), 1) for number in range(sizes.slots)]
        for bank in own:
            names = [_method(place.split(".", 2)[2]) for place in bank.marks] or [
                _method(bank.tensor)
            ]
            held = torch.tensor(
                [[slot > 0 and (name not in methods or methods[place] == name) for name in names]
                 for slot, place in enumerate(places)]
            )  # fmt: skip
            found[bank.name] = _filled(bank, sizes, held.float(), generator)
    return {bank.name: found[bank.name] for bank in banks}


def _method(tensor: str) -> str:
    return tensor.partition(".")[0]


def _filled(bank: BankSpec, sizes: Sizes, held: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers in the slots that hold something, ``[S, 1]``; or the marks ``[S, K]``."""
    if bank.marks:
        return held
    free = {"S": sizes.slots, "E": min(sizes.rank, 1)}
    shape = [free.get(a[0], sizes.rank) if isinstance(a, str) else a for a in bank.shape]
    after = len(shape) - bank.slot_axis - 1
    return torch.randn(shape, generator=generator) * 0.1 * held.view(-1, *[1] * after)


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
