"""Translators: M2M100 and NLLB."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig

from adaptation.architectures.architecture import Architecture, Sublayer, Tower

PRE_NORM = {
    "attention": Sublayer("self_attn.out_proj", None, ("self_attn_layer_norm", 0)),
    "output": Sublayer("fc2", None, ("final_layer_norm", 0)),
}
CROSS = {"cross": Sublayer("encoder_attn.out_proj", None, ("encoder_attn_layer_norm", 0))}


class TranslatorArchitecture(Architecture):
    """A base that writes: its decoder attends to what its encoder made of a row."""

    kind = "translator"

    @property
    @abstractmethod
    def decoder(self) -> Any:
        """The decoder, whose layers hold the cross attention too."""

    @property
    @abstractmethod
    def decoder_config(self) -> PretrainedConfig:
        """Where the decoder's width, heads and vocabulary stand."""

    @abstractmethod
    def memory(self, words: Tensor, mask: Tensor) -> Tensor:
        """Word vectors ``[B, T, D]`` and mask → what the decoder attends to, ``[B, T, W]``."""

    @abstractmethod
    def target_words(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens ``[R]`` at positions ``[R]`` as the decoder's first layer takes them, ``[R, W]``.

        Positions count from 0.
        """


class M2M100Architecture(TranslatorArchitecture):
    """M2M100 and NLLB: pre-norm layers, sinusoidal positions, language tokens."""

    model_types = ("m2m_100",)

    @property
    def decoder(self) -> Any:
        return self.model.model.decoder

    @property
    def decoder_config(self) -> PretrainedConfig:
        return self.model.config

    @property
    def reader(self) -> nn.Module:
        return self.model.model

    def towers(self) -> tuple[Tower, ...]:
        inner = self.model.model
        return (
            Tower("encoder", inner.encoder.layers, PRE_NORM),
            Tower("decoder", inner.decoder.layers, PRE_NORM | CROSS),
        )

    def layer_path(self, tower: str, index: int) -> str:
        return f"model.{tower}.layers.{index}"

    def vocabulary_head(self) -> nn.Module:
        return self.model.lm_head

    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → scaled word vectors ``[B, T, D]``, before positions."""
        return self.model.model.encoder.embed_tokens(token_ids)

    def memory(self, words: Tensor, mask: Tensor) -> Tensor:
        encoder = self.model.model.encoder
        return encoder(inputs_embeds=words, attention_mask=mask).last_hidden_state

    def target_words(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Scaled word vectors plus sinusoidal positions, ``[R, D]``."""
        table = self.decoder.embed_positions
        places = table.weights.index_select(0, positions + (table.padding_idx + 1))
        return self.decoder.embed_tokens(tokens) + places
