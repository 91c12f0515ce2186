"""The graphs of a translator base: embed, encoder (with the cross keys), one decoder step."""

from typing import Any

import torch
from torch import Tensor

from adaptation.architectures import TranslatorArchitecture
from adaptation.branching import SlotSource
from adaptation.slotted import SlottedBase
from export.encoder_graphs import Embed
from export.graphs import Feed, Sizes, SlottedGraph, floats, ints, ragged_mask, random_slots
from langmod.specs import TensorSpec


class TranslatorGraph(SlottedGraph):
    """A part of a translator base."""

    @property
    def translator(self) -> TranslatorArchitecture:
        """The base's architecture."""
        found = self.slotted.architecture
        if not isinstance(found, TranslatorArchitecture):
            raise TypeError(f"{type(found).__name__} is no translator")
        return found

    @property
    def decoder(self) -> Any:
        """The decoder, whose layers hold the cross attention too."""
        return self.translator.decoder

    @property
    def heads(self) -> int:
        """H, attention heads of the decoder."""
        return int(self.translator.decoder_config.decoder_attention_heads)

    @property
    def head_width(self) -> int:
        """E, the width of one head."""
        return int(self.translator.decoder_config.d_model) // self.heads

    def caches(self, prefix: str, rows: str, tokens: str, suffix: str = "") -> list[TensorSpec]:
        """Key and value tensors ``[rows, H, tokens, E]`` of every decoder layer."""
        return [
            floats(f"{prefix}.{part}.{layer}{suffix}", rows, self.heads, tokens, self.head_width)
            for layer in range(len(self.decoder.layers))
            for part in ("key", "value")
        ]

    def split(self, tensor: Tensor) -> Tensor:
        """``[B, T, D]`` → ``[B, H, T, E]``."""
        rows, tokens = tensor.shape[:2]
        return tensor.view(rows, tokens, self.heads, self.head_width).transpose(1, 2)


class Encoder(TranslatorGraph):
    """Source vectors to the keys and values that every decoder step attends to."""

    name = "encoder"

    @property
    def layered(self) -> bool:
        """Every layer."""
        return True

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        words = floats("words", "B", "T", self.translator.width)
        return (words, ints("mask", "B", "T"), ints("slots", "B", 2))

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return (*self.caches("cross", "B", "T"), floats("cross.bias", "B", "T"))

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        hidden = self.translator.memory(feed["words"], feed["mask"])  # [B, T, W]
        found: Feed = {}
        for index, layer in enumerate(self.decoder.layers):
            found[f"cross.key.{index}"] = self.split(layer.encoder_attn.k_proj(hidden))
            found[f"cross.value.{index}"] = self.split(layer.encoder_attn.v_proj(hidden))
        return found | {"cross.bias": _bias(feed["mask"])}

    def example(self, sizes: Sizes) -> Feed:
        generator = torch.Generator().manual_seed(sizes.seed)
        shape = (sizes.rows, sizes.tokens, self.translator.width)
        return {
            "words": torch.randn(shape, generator=generator) * 0.1,
            "mask": ragged_mask(sizes.rows, sizes.tokens),
            "slots": random_slots(sizes.rows, sizes, generator),
        }


class DecoderStep(TranslatorGraph):
    """The last token of every hypothesis to its likeliest successors.

    R hypotheses are B sentences times equally many beams. ``parents`` picks the cache row that each
    hypothesis continues, which reorders beams and drops finished sentences in one gather. The
    beams of a sentence attend to one copy of its cross keys.
    """

    name = "decoder"

    @property
    def layered(self) -> bool:
        """Every layer."""
        return True

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        return (
            ints("tokens", "R"),
            ints("positions", "R"),
            ints("parents", "R"),
            floats("cross.bias", "B", "T"),
            ints("slots", "R", 2),
            ints("k", 1),
            *self.caches("self", "Q", "t"),
            *self.caches("cross", "B", "T"),
        )

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        answers = (floats("scores", "R", "K"), ints("next_tokens", "R", "K"))
        return (*answers, *self.caches("self", "R", "t1", ".out"))

    def compute(self, feed: Feed, source: SlotSource) -> Feed:
        hidden = self.embed(feed)  # [R, 1, D]
        bias = feed["cross.bias"][:, None, None]  # [B, 1, 1, T]
        caches: Feed = {}
        for index, layer in enumerate(self.decoder.layers):
            inner = layer.self_attn_layer_norm(hidden)
            keys, values = self.grown(layer.self_attn, inner, feed, index)
            caches |= {f"self.key.{index}.out": keys, f"self.value.{index}.out": values}
            hidden = hidden + self.attend_self(layer.self_attn, inner, (keys, values))
            inner = layer.encoder_attn_layer_norm(hidden)
            cross = (feed[f"cross.key.{index}"], feed[f"cross.value.{index}"])
            hidden = hidden + self.attend_cross(layer.encoder_attn, inner, cross, bias)
            inner = layer.final_layer_norm(hidden)
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(inner)))
        logits = self.translator.vocabulary_head()(self.decoder.layer_norm(hidden[:, 0]))  # [R, V]
        k: Any = feed["k"][0]  # stays a tensor, so that the graph takes it as an input
        scores, tokens = torch.topk(logits.log_softmax(-1), k, dim=-1)  # [R, K]
        return {"scores": scores, "next_tokens": tokens} | caches

    def embed(self, feed: Feed) -> Tensor:
        """What the first layer of the decoder takes, ``[R, 1, D]``."""
        return self.translator.target_words(feed["tokens"], feed["positions"]).unsqueeze(1)

    def alone(self, tensor: Tensor) -> Tensor:
        """``split`` of one token: ``[R, 1, D]`` → ``[R, H, 1, E]``, whose numbers lie the same."""
        return tensor.view(-1, self.heads, 1, self.head_width)

    def grown(self, attention: Any, inner: Tensor, feed: Feed, layer: int) -> tuple[Tensor, Tensor]:
        """The caches of the continued rows with this token's key and value, ``[R, H, t+1, E]``."""
        new = (self.alone(attention.k_proj(inner)), self.alone(attention.v_proj(inner)))
        old = (
            feed[f"self.{part}.{layer}"].index_select(0, feed["parents"])
            for part in ("key", "value")
        )
        keys, values = (torch.cat([past, now], 2) for past, now in zip(old, new, strict=True))
        return keys, values

    def attend_self(self, attention: Any, inner: Tensor, cache: tuple[Tensor, Tensor]) -> Tensor:
        """Attention of each hypothesis to its own past, ``[R, 1, D]``."""
        query = self.alone(attention.q_proj(inner)) * attention.scaling  # [R, H, 1, E]
        scores = query @ cache[0].transpose(2, 3)  # [R, H, 1, t+1]
        return attention.out_proj(self.joined(scores.softmax(-1) @ cache[1]))

    def attend_cross(
        self, attention: Any, inner: Tensor, cache: tuple[Tensor, Tensor], bias: Tensor
    ) -> Tensor:
        """Attention to the source, the beams of a sentence side by side, ``[R, 1, D]``."""
        query = attention.q_proj(inner) * attention.scaling  # [R, 1, D]
        beams = query.view(bias.shape[0], -1, self.heads, self.head_width)  # [B, K, H, E]
        scores = beams.transpose(1, 2) @ cache[0].transpose(2, 3) + bias  # [B, H, K, T]
        mixed = scores.softmax(-1) @ cache[1]  # [B, H, K, E]
        return attention.out_proj(self.joined(mixed.transpose(1, 2)))

    def joined(self, heads: Tensor) -> Tensor:
        """Heads ``[..., H, E]`` of R tokens side by side, ``[R, 1, D]``."""
        return heads.reshape(-1, 1, self.heads * self.head_width)

    def example(self, sizes: Sizes) -> Feed:
        generator = torch.Generator().manual_seed(sizes.seed)
        sentences, hypotheses, past = sizes.rows, sizes.rows * sizes.beams, 2

        def caches(rows: int, tokens: int, prefix: str) -> Feed:
            shape = (rows, self.heads, tokens, self.head_width)
            names = [spec.name for spec in self.caches(prefix, "", "")]
            return {name: torch.randn(shape, generator=generator) for name in names}

        high = self.translator.decoder_config.vocab_size
        return {
            "tokens": torch.randint(0, high, (hypotheses,), generator=generator),
            "positions": torch.full((hypotheses,), past),
            "parents": torch.randint(0, hypotheses, (hypotheses,), generator=generator),
            "cross.bias": _bias(ragged_mask(sentences, sizes.tokens)),
            "slots": random_slots(hypotheses, sizes, generator),
            "k": torch.tensor([3]),
            **caches(hypotheses, past, "self"),
            **caches(sentences, sizes.tokens, "cross"),
        }


def _bias(mask: Tensor) -> Tensor:
    """A mask ``[B, T]`` as what is added to attention scores."""
    return (1.0 - mask.float()) * torch.finfo(torch.float32).min


def translator_graphs(slotted: SlottedBase) -> list[SlottedGraph]:
    """Every graph of a translator base."""
    return [Embed(slotted), Encoder(slotted), DecoderStep(slotted)]
