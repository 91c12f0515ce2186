"""Encoders: XLM-R, RoBERTa and BERT."""

from typing import Any

import torch
from torch import Tensor, nn

from adaptation.architectures.architecture import Architecture, Sublayer, Tower
from adaptation.architectures.layer_mix import LayerMix

POST_NORM = {
    "attention": Sublayer(
        "attention.output.dense", "attention.output.LayerNorm", ("attention.output", 1)
    ),
    "output": Sublayer("output.dense", "output.LayerNorm", ("output", 1)),
}


class EncoderArchitecture(Architecture):
    """XLM-R, RoBERTa and BERT: post-norm layers, learned positions."""

    kind = "encoder"
    model_types = ("xlm-roberta", "roberta", "bert")
    mix: LayerMix | None = None
    """Where the head for words reads several layers."""
    pieces: Tensor | None = None
    """``[V']`` ids of the pieces that the head for words knows, in its order; None: all."""

    def places(self, ids: Tensor, unknown: int) -> Tensor:
        """Where the head's logits of some pieces are; ``unknown`` for those that it has not."""
        if self.pieces is None:
            return ids
        pieces = self.pieces.to(ids.device)
        own = torch.searchsorted(pieces, ids).clamp(max=len(pieces) - 1)
        return torch.where(pieces[own] == ids, own, unknown)

    @property
    def backbone(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    @property
    def reader(self) -> nn.Module:
        return self.backbone

    def towers(self) -> tuple[Tower, ...]:
        return (Tower("encoder", self.backbone.encoder.layer, POST_NORM),)

    def layer_path(self, tower: str, index: int) -> str:
        return f"{self.model.base_model_prefix}.{tower}.layer.{index}"

    @property
    def tail(self) -> nn.Module:
        """The last layer behind its attention's products."""
        return self.backbone.encoder.layer[-1].get_submodule("attention.output")

    @property
    def embeddings(self) -> nn.Module:
        """Words, positions and token types, normed."""
        return self.backbone.embeddings

    def vocabulary_head(self) -> nn.Module:
        return self.model.lm_head if hasattr(self.model, "lm_head") else self.model.cls

    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → word vectors ``[B, T, D]``, before positions and norm."""
        return self.backbone.embeddings.word_embeddings(token_ids)

    def placed(self, words: Tensor, token_types: Tensor | None) -> Tensor:
        """Word vectors ``[B, T, D]`` with positions and token types, normed, as layers take them.

        Done part by part, past the hooks of the module that does it for the layers.
        """
        embeddings = self.backbone.embeddings
        places = torch.arange(words.shape[1], device=words.device) + self.first_position  # [T]
        types = torch.zeros_like(places) if token_types is None else token_types
        vectors = embeddings.position_embeddings(places) + embeddings.token_type_embeddings(types)
        return embeddings.LayerNorm(words + vectors)

    def blank_layer(self) -> nn.Module:
        """A layer of the base's shape without weights or hooks."""
        with torch.device("meta"):
            return type(self.backbone.encoder.layer[0])(self.model.config).eval()

    @property
    def first_position(self) -> int:
        """Position id of the first token."""
        return 0 if self.model.config.model_type == "bert" else self.model.config.pad_token_id + 1
