"""What an encoder knows before its first step, so that a small run is not spent on finding it out.

From random weights the mini encoder stays at each language's token frequencies for all the steps
that two cores can give it (docs/decisions/0005). It therefore starts from word vectors of its own
text, sinusoidal positions, and attention that begins by averaging near neighbours.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import XLMRobertaForMaskedLM

from training.models.static_vectors import token_vectors

WORD_SCALE = 0.03
"""Root mean square of a word vector's entries; positions get the same."""
QUERY_KEY = 0.6
VALUE, OUTPUT = 1.0, 0.4
"""Weights of the identity in the attention's projections."""


def informed_start(
    model: XLMRobertaForMaskedLM, blocks: Mapping[str, NDArray[np.int32]], first: int, seed: int
) -> None:
    """Sets embeddings, attention and vocabulary head; ``first`` is the first id of a real token."""
    config = model.config
    vectors = token_vectors(blocks, config.vocab_size, config.hidden_size, first, seed)
    words = model.roberta.embeddings.word_embeddings.weight.data  # [V, D]
    words.copy_(torch.from_numpy(vectors) * WORD_SCALE)
    sinusoidal_positions(model.roberta.embeddings.position_embeddings.weight.data)
    for layer in model.roberta.encoder.layer:
        mimetic_attention(layer.attention)
    head = model.lm_head
    head.dense.weight.data.copy_(torch.eye(config.hidden_size))
    counts = np.bincount(
        np.concatenate([rows.ravel() for rows in blocks.values()]), minlength=config.vocab_size
    )
    counts[:first] = 0
    frequencies = torch.from_numpy((counts + 0.1) / (counts + 0.1).sum())
    head.bias.data.copy_(frequencies.log() - frequencies.log().mean())


def sinusoidal_positions(table: Tensor) -> None:
    """Fills ``[positions, D]`` with the sinusoids of Vaswani et al. 2017."""
    places = torch.arange(len(table), dtype=torch.float32).unsqueeze(1)
    rates = torch.exp(torch.arange(0, table.shape[1], 2) * (-math.log(10_000) / table.shape[1]))
    waves = torch.stack([(places * rates).sin(), (places * rates).cos()], 2).flatten(1)
    table.copy_(waves * WORD_SCALE * math.sqrt(2))


def mimetic_attention(attention: nn.Module) -> None:
    """Like attends to like, and what is attended to is passed on.

    Trockman and Kolter 2023 (Mimetic Initialization of Self-Attention Layers, arXiv 2305.09828),
    with the identity added to the usual small noise.
    """
    scales = {
        "self.query": QUERY_KEY,
        "self.key": QUERY_KEY,
        "self.value": VALUE,
        "output.dense": OUTPUT,
    }
    for path, scale in scales.items():
        weight: Any = attention.get_submodule(path).weight
        weight.data += scale * torch.eye(len(weight))
