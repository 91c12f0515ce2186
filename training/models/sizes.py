"""The shapes of our own bases: nano for tests, micro to train many, mini, small for a GPU."""

from typing import Literal

from transformers import (
    M2M100Config,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    XLMRobertaConfig,
)

from langmod.config import Frozen

Size = Literal["nano", "micro", "mini", "small"]


class Shape(Frozen):
    """Width, depth and length of a base."""

    width: int
    heads: int
    feed_forward: int
    layers: int
    decoder_layers: int
    max_tokens: int


SHAPES: dict[Size, Shape] = {
    "nano": Shape(width=32, heads=4, feed_forward=64, layers=2, decoder_layers=2, max_tokens=64),
    "micro": Shape(width=64, heads=4, feed_forward=256, layers=2, decoder_layers=2, max_tokens=64),
    "mini": Shape(
        width=256, heads=4, feed_forward=1024, layers=6, decoder_layers=2, max_tokens=256
    ),
    "small": Shape(
        width=512, heads=8, feed_forward=2048, layers=8, decoder_layers=3, max_tokens=256
    ),
}


def encoder_config(
    shape: Shape, tokenizer: PreTrainedTokenizerBase, dropout: float
) -> PretrainedConfig:
    """An XLM-R configuration (Conneau et al. 2020) of a shape."""
    return XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.max_tokens + tokenizer.pad_token_id + 1,
        type_vocab_size=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def translator_config(
    shape: Shape, tokenizer: PreTrainedTokenizerBase, dropout: float
) -> PretrainedConfig:
    """An M2M100 configuration (Fan et al. 2021) of a shape."""
    return M2M100Config(
        vocab_size=len(tokenizer),
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.feed_forward,
        decoder_ffn_dim=shape.feed_forward,
        max_position_embeddings=shape.max_tokens,
        dropout=dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        scale_embedding=True,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_bos_token_id=None,
    )
