"""Translators put together from an encoder and a decoder: ``EncoderDecoderModel``.

The encoder is any BERT or XLM-R inside a ``LayerReader``, the decoder any causal model of the BART
family with cross attention: pre-norm layers, learned positions, a norm at the end (Blenderbot's,
which is Whisper's too).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from adaptation.architectures import layer_reader  # noqa: F401  (registers with transformers)
from adaptation.architectures.architecture import Tower
from adaptation.architectures.encoder import POST_NORM
from adaptation.architectures.m2m100 import CROSS, PRE_NORM, TranslatorArchitecture

LAYERS = {"encoder": "encoder.encoder.encoder.layer", "decoder": "decoder.model.decoder.layers"}
"""Full name of each tower in the Hugging Face model."""


class HalvesArchitecture(TranslatorArchitecture):
    """Post-norm encoder layers, a map over several of them, pre-norm decoder layers."""

    model_types = ("encoder-decoder",)

    @property
    def backbone(self) -> Any:
        """The encoder without the map over its layers."""
        return self.model.encoder.encoder

    @property
    def width(self) -> int:
        """D of the encoder, whose words a row brings."""
        return int(self.backbone.config.hidden_size)

    @property
    def heads(self) -> int:
        """H of the encoder."""
        return int(self.backbone.config.num_attention_heads)

    @property
    def reader(self) -> nn.Module:
        return self.model

    @property
    def decoder(self) -> Any:
        return self.model.decoder.model.decoder

    @property
    def decoder_config(self) -> PretrainedConfig:
        return self.model.config.decoder

    def towers(self) -> tuple[Tower, ...]:
        return (
            Tower("encoder", self.backbone.encoder.layer, POST_NORM),
            Tower("decoder", self.decoder.layers, PRE_NORM | CROSS),
        )

    def layer_path(self, tower: str, index: int) -> str:
        return f"{LAYERS[tower]}.{index}"

    def vocabulary_head(self) -> nn.Module:
        return self.model.decoder.lm_head

    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → word vectors ``[B, T, D]``, before positions and norm."""
        return self.backbone.embeddings.word_embeddings(token_ids)

    def memory(self, words: Tensor, mask: Tensor) -> Tensor:
        return self.model.encoder(inputs_embeds=words, attention_mask=mask).last_hidden_state

    def target_words(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Word vectors plus learned positions, ``[R, W]``."""
        places = torch.nn.functional.embedding(positions, self.decoder.embed_positions.weight)
        return self.decoder.embed_tokens(tokens) + places
