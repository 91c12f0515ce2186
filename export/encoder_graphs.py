"""The graphs of an encoder base: embed, body, fill_mask, and one head per task kind."""

from typing import Any

import torch
from torch import Tensor

from adaptation.branching import SlotSource, gathered
from adaptation.slotted import SlottedBase
from export.graphs import (
    EncoderGraph,
    Feed,
    Sizes,
    SlottedGraph,
    floats,
    ints,
    ragged_mask,
    random_slots,
)
from export.vocabulary_graphs import vocabulary_graphs
from langmod.specs import TensorSpec
from langmod.tasks import TASKS, HeadTask


class Embed(SlottedGraph):
    """Token ids to word vectors, for encoders and translators alike."""

    name = "embed"

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        return (ints("token_ids", "B", "T"),)

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return (floats("words", "B", "T", self.slotted.architecture.width),)

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        return {"words": self.slotted.architecture.words(feed["token_ids"])}

    def example(self, sizes: Sizes) -> Feed:
        generator = torch.Generator().manual_seed(sizes.seed)
        shape = (sizes.rows, sizes.tokens)
        high = self.slotted.architecture.vocabulary_size
        return {"token_ids": torch.randint(0, high, shape, generator=generator)}


class Body(EncoderGraph):
    """Word vectors to hidden states through every layer and slot."""

    name = "body"

    @property
    def layered(self) -> bool:
        """Every layer."""
        return True

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        types = (ints("token_types", "B", "T"),) if self.config.type_vocab_size > 1 else ()
        return (
            floats("words", "B", "T", self.width),
            ints("mask", "B", "T"),
            ints("positions", "B", "T"),
            *types,
            ints("slots", "B", 2),
        )

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        shape = ("B", "T", self.width)
        return (floats("hidden", *shape), *(floats(each, *shape) for each in lower_layers(self)))

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        types = feed.get("token_types", torch.zeros_like(feed["positions"]))
        found = self.encoder.backbone(
            inputs_embeds=feed["words"],
            attention_mask=feed["mask"],
            position_ids=feed["positions"],
            token_type_ids=types,
            output_hidden_states=True,
        )
        lower = {name: found.hidden_states[layer] for name, layer in lower_layers(self).items()}
        return {"hidden": found.last_hidden_state, **lower}

    def example(self, sizes: Sizes) -> Feed:
        generator = torch.Generator().manual_seed(sizes.seed)
        rows, tokens = sizes.rows, sizes.tokens
        positions = torch.arange(tokens).expand(rows, tokens) + self.encoder.first_position
        ids = torch.randint(0, self.config.vocab_size, (rows, tokens), generator=generator)
        feed = {
            "words": self.encoder.words(ids).detach().clone(),
            "mask": ragged_mask(rows, tokens),
            "positions": positions.clone(),
        }
        if self.config.type_vocab_size > 1:
            feed["token_types"] = torch.zeros(rows, tokens, dtype=torch.int64)
        return feed | {"slots": random_slots(rows, sizes, generator)}


def lower_layers(graph: EncoderGraph) -> dict[str, int]:
    """Outputs of the body below its last, which the head for words reads too → their layers."""
    mix = graph.encoder.mix
    return {} if mix is None else {f"hidden.{layer}": layer for layer in mix.layers[:-1]}


class FillMask(EncoderGraph):
    """Hidden states at masked positions to the likeliest tokens; the vocabulary stays inside.

    ``slots`` are those of each mask's row.
    """

    name = "fill_mask"

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        layers = [floats(name, "B", "T", self.width) for name in self.layers]
        slots = ints("slots", "N", 2)
        return (*layers, ints("rows", "N"), ints("columns", "N"), ints("k", 1), slots)

    @property
    def layers(self) -> tuple[str, ...]:
        """Outputs of the body that it reads."""
        return (*lower_layers(self), "hidden")

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return (floats("scores", "N", "K"), ints("tokens", "N", "K"))

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        # Three axes, so that the exporter writes MatMul, which 8 bits can take, and not Gemm.
        places = feed["rows"], feed["columns"]
        each = [feed[name][places].unsqueeze(1) for name in self.layers]  # [N, 1, D]
        masked = each[0] if self.encoder.mix is None else self.encoder.mix(*each)
        probabilities = self.encoder.vocabulary_head()(masked).squeeze(1).softmax(-1)  # [N, V]
        k: Any = feed["k"][0]  # stays a tensor, so that the graph takes it as an input
        scores, tokens = torch.topk(probabilities, k, dim=-1)  # [N, K]
        pieces = self.encoder.pieces
        return {"scores": scores, "tokens": tokens if pieces is None else pieces[tokens]}

    def example(self, sizes: Sizes) -> Feed:
        generator = torch.Generator().manual_seed(sizes.seed)
        shape = (sizes.rows, sizes.tokens, self.width)
        rows = torch.arange(sizes.rows)
        return {
            **{name: torch.randn(shape, generator=generator) for name in self.layers},
            "rows": rows,
            "columns": rows % sizes.tokens,
            "k": torch.tensor([3]),
            "slots": random_slots(sizes.rows, sizes, generator),
        }


class Head(EncoderGraph):
    """The head of one task kind; its weights are bank rows, so each row has its own."""

    def __init__(self, slotted: SlottedBase, task: HeadTask) -> None:
        self.name = task.kind  # type: ignore[misc]
        object.__setattr__(self, "task", task)
        super().__init__(slotted)

    task: HeadTask

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        hidden, slots = floats("hidden", "B", "T", self.width), ints("slots", "B", 2)
        return (hidden, floats("pool", "B", "T"), slots) if self.pools else (hidden, slots)

    @property
    def pools(self) -> bool:
        """Whether the head reads one vector per row."""
        return len(self._logits(Sizes()).shape) == 2

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        symbol = f"C.task.{self.task.kind}"
        axes = ("B", symbol) if self.pools else ("B", "T", symbol)
        return (floats("logits", *axes),)

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        banks = self.task.head_banks(self.width)
        found = {bank.name.rsplit(".", 1)[1]: source.find(bank.name, None) for bank in banks}
        tensors = {
            name: gathered(each.bank, each.places)
            for name, each in found.items()
            if each is not None
        }
        pool = feed.get("pool", feed["hidden"][:, :, 0])
        return {"logits": self.task.head(feed["hidden"], pool, tensors)}

    def example(self, sizes: Sizes) -> Feed:
        generator = torch.Generator().manual_seed(sizes.seed)
        rows, tokens = sizes.rows, sizes.tokens
        hidden = torch.randn(rows, tokens, self.width, generator=generator)
        mask = ragged_mask(rows, tokens).float()
        feed = {"hidden": hidden, "pool": mask / mask.sum(1, keepdim=True)}
        if not self.pools:
            del feed["pool"]
        return feed | {"slots": random_slots(rows, sizes, generator)}

    def asked_banks(self) -> set[str]:
        """All of the task's, without which the head cannot run."""
        return {bank.name for bank in self.task.head_banks(self.width)}

    def _logits(self, sizes: Sizes) -> Tensor:
        hidden, pool = torch.zeros(1, 2, self.width), torch.zeros(1, 2)
        tensors = {
            bank.name.rsplit(".", 1)[1]: torch.zeros(
                [1, *(sizes.rank if isinstance(axis, str) else axis for axis in bank.row_shape)]
            )
            for bank in self.task.head_banks(self.width)
        }
        return self.task.head(hidden, pool, tensors)


def encoder_graphs(slotted: SlottedBase) -> list[SlottedGraph]:
    """Every graph of an encoder base."""
    heads = [Head(slotted, task) for task in TASKS.values() if isinstance(task, HeadTask)]
    own = vocabulary_graphs(slotted)
    return [Embed(slotted), Body(slotted), FillMask(slotted), *heads, *own]
