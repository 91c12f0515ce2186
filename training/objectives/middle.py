"""The middle of an encoder: where languages are nearest, and where objectives look at them.

The last layers turn back to the words of one language, which they must name; sentence vectors
are taken, and languages told apart, some layers below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptation.architectures import EncoderArchitecture
from langmod.errors import ConfigError

UNKNOWN = -1
"""The language of a block that holds several."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What objectives see of one batch."""

    middle: Tensor
    """``[B, T, D]`` after the middle layer."""
    batch: Mapping[str, Tensor]
    progress: float
    """Part of the steps that is done."""


class Objective(nn.Module):
    """A loss over the middle; called with what is ``Seen``."""

    said: dict[str, float]
    """Parts of the last loss, for logs."""


def middle_of(architecture: EncoderArchitecture, asked: int | None = None) -> int:
    """How many layers lie below the middle; half of them if nothing is asked.

    Raises:
        ConfigError: none below, or none above: there must be layers for the words alone.
    """
    depth = architecture.towers()[0].depth
    found = depth // 2 if asked is None else asked
    if not 0 < found < depth:
        raise ConfigError(f"middle is {found}; allowed: 1 to {depth - 1} of {depth} layers")
    return found


class LowerHalf:
    """An encoder up to its middle; the layers are the base's own."""

    def __init__(self, embeddings: nn.Module, layers: Sequence[nn.Module]) -> None:
        self.embeddings, self.layers = embeddings, layers

    @classmethod
    def of(cls, architecture: EncoderArchitecture, depth: int) -> "LowerHalf":
        """The first ``depth`` layers of a base."""
        return cls(architecture.embeddings, list(architecture.towers()[0].layers[:depth]))

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[B, T, D]`` of token ids and mask ``[B, T]``."""
        vectors: Any = self.embeddings(input_ids=ids)
        padding = 1 - mask[:, None, None, :].to(vectors.dtype)  # [B, 1, 1, T]
        never = padding * torch.finfo(vectors.dtype).min
        for layer in self.layers:
            vectors = layer(vectors, never)[0]
        found: Tensor = vectors
        return found


def pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Means ``[B, D]`` over the tokens ``[B, T]`` that a mask lets through."""
    weights = mask.to(hidden.dtype).unsqueeze(-1)  # [B, T, 1]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def sentence_rows(hidden: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Means ``[N, D]`` of every sentence of packed blocks, and its language ``[N]``.

    ``batch`` holds ``sentences [B, T]``, the number of a token's sentence in its block (-1: none),
    and ``languages [B]``; blocks of unknown language give no rows.
    """
    sentences, languages = batch["sentences"], batch["languages"]
    most = int(sentences.max()) + 1
    rows = torch.arange(len(sentences), device=hidden.device).unsqueeze(1)  # [B, 1]
    places = rows * most + sentences  # [B, T]
    kept = (sentences >= 0) & (languages != UNKNOWN).unsqueeze(1)  # [B, T]
    sums = hidden.new_zeros(len(sentences) * most, hidden.shape[-1], dtype=torch.float32)
    sums = sums.index_add(0, places[kept], hidden[kept].float())
    counts = torch.bincount(places[kept], minlength=len(sums))
    there = counts > 0
    means = sums[there] / counts[there].unsqueeze(1)
    return means, languages.repeat_interleave(most)[there]
