"""The graphs of modules with a vocabulary of their own: what they put around a base's body.

A module's tensors are plain inputs, so that each run takes the rows of one module.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from adaptation.architectures import EncoderArchitecture
from adaptation.banks import banks_of
from adaptation.branching import SlotSource
from adaptation.own_vocabulary import BIAS, ENTRY, EXIT, WORDS, OwnVocabulary
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from export.graphs import EncoderGraph, Feed, Sizes, SlottedGraph, floats, ints, ragged_mask
from langmod.specs import TensorSpec

PREFIX = "language.xpt."
TOKENS = 6
"""Ids of an example are smaller, so that any module's vocabulary has them."""
VOCABULARY = 11
"""Tokens of an example, and one for each rank of its sizes."""


class VocabularyGraph(EncoderGraph):
    """A part of what such modules do to their rows."""

    parts: ClassVar[tuple[str, ...]]
    """How the names of the tensors that it takes begin."""

    def __init__(self, slotted: SlottedBase) -> None:
        assert isinstance(slotted.architecture, EncoderArchitecture)
        self.own = OwnVocabulary(slotted.architecture, PREFIX)
        starts = tuple(PREFIX + part for part in self.parts)
        self.tensors = tuple(
            TensorSpec(name=bank.name, dtype="float32", shape=bank.row_shape)
            for bank in banks_of(slotted.architecture)
            if bank.name.startswith(starts)
        )
        super().__init__(slotted)

    def module(self, feed: Feed) -> Feed:
        """The tensors among the inputs."""
        return {each.name.removeprefix(PREFIX): feed[each.name] for each in self.tensors}

    def example(self, sizes: Sizes) -> Feed:
        """Random rows of a random module."""
        generator = torch.Generator().manual_seed(sizes.seed)
        letters = {f"V.{PREFIX.removesuffix('.')}": VOCABULARY + sizes.rank}
        tensors = {}
        for each in self.tensors:
            shape = [letters[axis] if isinstance(axis, str) else axis for axis in each.shape]
            tensors[each.name] = torch.randn(shape, generator=generator) * 0.1
        return self.example_rows(sizes, generator) | tensors

    def example_rows(self, sizes: Sizes, generator: torch.Generator) -> Feed:
        """Hidden states ``[B, T, D]`` of rows of different lengths."""
        shape = (sizes.rows, sizes.tokens, self.width)
        hidden = torch.randn(shape, generator=generator)
        return {"hidden": hidden, "mask": ragged_mask(sizes.rows, sizes.tokens)}


class XptEntry(VocabularyGraph):
    """Token ids of a module to the word vectors that the body takes."""

    name = "xpt_entry"
    parts = (WORDS, ENTRY)

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        types = (ints("token_types", "B", "T"),) if self.config.type_vocab_size > 1 else ()
        return (ints("token_ids", "B", "T"), ints("mask", "B", "T"), *types, *self.tensors)

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return (floats("words", "B", "T", self.width),)

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        types = feed.get("token_types")
        own = self.module(feed)
        return {"words": self.own.entered(feed["token_ids"], feed["mask"], types, own)}

    def example_rows(self, sizes: Sizes, generator: torch.Generator) -> Feed:
        """Tokens that every vocabulary has."""
        shape = (sizes.rows, sizes.tokens)
        ids = torch.randint(0, TOKENS, shape, generator=generator)
        types = {"token_types": torch.zeros_like(ids)} if self.config.type_vocab_size > 1 else {}
        return {"token_ids": ids, "mask": ragged_mask(*shape), **types}


class XptExit(VocabularyGraph):
    """Hidden states of the body to those that heads read."""

    name = "xpt_exit"
    parts = (EXIT,)

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        hidden = floats("hidden", "B", "T", self.width)
        return (hidden, ints("mask", "B", "T"), *self.tensors)

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return (floats("left", "B", "T", self.width),)

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        return {"left": self.own.left(feed["hidden"], feed["mask"], self.module(feed))}


class XptFillMask(VocabularyGraph):
    """Hidden states at masked positions to the likeliest tokens of a module's vocabulary."""

    name = "xpt_fill_mask"
    parts = (WORDS, BIAS)

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        hidden = floats("hidden", "B", "T", self.width)
        return (hidden, ints("rows", "N"), ints("columns", "N"), ints("k", 1), *self.tensors)

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return (floats("scores", "N", "K"), ints("tokens", "N", "K"))

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        # Three axes, so that the exporter writes MatMul, which 8 bits can take, and not Gemm.
        masked = feed["hidden"][feed["rows"], feed["columns"]].unsqueeze(1)  # [N, 1, D]
        with self.slotted.using(FixedSource({PREFIX + n: t for n, t in self.module(feed).items()})):
            logits: Tensor = self.encoder.vocabulary_head()(masked)
        k: Any = feed["k"][0]  # stays a tensor, so that the graph takes it as an input
        scores, tokens = torch.topk(logits.squeeze(1).softmax(-1), k, dim=-1)  # [N, K]
        return {"scores": scores, "tokens": tokens}

    def example_rows(self, sizes: Sizes, generator: torch.Generator) -> Feed:
        """One mask a row."""
        rows = torch.arange(sizes.rows)
        hidden = super().example_rows(sizes, generator)["hidden"]
        return {"hidden": hidden, "rows": rows, "columns": rows % sizes.tokens,
                "k": torch.tensor([3])}  # fmt: skip


def vocabulary_graphs(slotted: SlottedBase) -> list[SlottedGraph]:
    """Every graph of modules with a vocabulary."""
    return [XptEntry(slotted), XptExit(slotted), XptFillMask(slotted)]
