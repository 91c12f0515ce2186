"""A translator of any shape with random weights, described as shipped ones are."""

import shutil
from pathlib import Path

import torch
from pydantic import Field
from transformers import M2M100Config, M2M100ForConditionalGeneration

from adaptation.bases import describe_base, load_spec
from langmod.config import Frozen

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SPREAD = 2.5
"""Times the weights of layers that M2M100 begins with: less, and a base says one word for ever."""


class RandomShape(Frozen):
    """A translator with random weights, which never ends a translation by itself."""

    width: int
    layers: int = Field(ge=1)
    """Of the encoder, and as many of the decoder."""
    heads: int
    feed_forward: int
    vocabulary: int
    """At least that of the tokenizer."""

    def build(self, folder: Path, like: Path, seed: int) -> None:
        """Writes a base that reads and writes as another does."""
        folder.mkdir()
        for name in TOKENIZER:
            shutil.copy(like / name, folder)
        config = M2M100Config.from_pretrained(
            like, d_model=self.width, vocab_size=self.vocabulary,
            encoder_layers=self.layers, decoder_layers=self.layers, num_hidden_layers=self.layers,
            encoder_attention_heads=self.heads, decoder_attention_heads=self.heads,
            encoder_ffn_dim=self.feed_forward, decoder_ffn_dim=self.feed_forward,
        )  # fmt: skip
        torch.manual_seed(seed)
        model = M2M100ForConditionalGeneration(config)
        for name, parameter in model.named_parameters():
            if ".layers." in name and parameter.dim() == 2:
                parameter.data.mul_(SPREAD)
        # Its logit is always 0, far below the largest of a vocabulary: no translation ends.
        model.get_input_embeddings().weight.data[config.eos_token_id] = 0.0
        model.half().save_pretrained(folder)
        spec = load_spec(like)
        describe_base(folder, folder.name, spec.languages, spec.licence)
