"""Translations near one another in the middle, other sentences far: InfoNCE with an anchor.

Van den Oord et al. 2018 (arXiv 1807.03748) on mean-pooled vectors, both ways, as multilingual
sentence encoders use it (Chi et al. 2021, InfoXLM). The anchor, squared distance to what the
original model made of the pivot's sentences, keeps them in place (Cao et al. 2020,
arXiv 2002.03518).
"""

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from adaptation.architectures import EncoderArchitecture
from langmod.config import Frozen
from training.objectives.middle import LowerHalf, Objective, Seen, pooled


class ContrastSettings(Frozen):
    """InfoNCE over pairs of sentences."""

    pairs: int = 8
    """Pairs for each block of the batch."""
    temperature: float = 0.05
    weight: float = 1.0
    anchor: float = 1.0
    """Weight of the distance to the original model; 0: free to move."""
    tokens: int = 64
    """Longer sentences are cut."""


def info_nce(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """Mean cross entropy of finding each one's partner, both ways; ``[P, D]`` each."""
    scores = functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).t()  # [P, P]
    partners = torch.arange(len(left), device=left.device)
    ways = [functional.cross_entropy(each / temperature, partners) for each in (scores, scores.t())]
    return (ways[0] + ways[1]) / 2


class Contrast(Objective):
    """The objective; it runs the lower half on sentence pairs of its own."""

    def __init__(
        self, settings: ContrastSettings, architecture: EncoderArchitecture, depth: int
    ) -> None:
        super().__init__()
        self.settings = settings
        self.said = {}
        # Not its own to learn, save or count.
        object.__setattr__(self, "lower", LowerHalf.of(architecture, depth))
        object.__setattr__(self, "original", _frozen_copy(self.lower) if settings.anchor else None)

    lower: LowerHalf
    original: LowerHalf | None

    def forward(self, seen: Seen) -> Tensor:
        """The weighted loss; ``seen.batch`` holds ``left_ids``, ``right_ids`` and their masks."""
        ids = {side: seen.batch[f"{side}_ids"] for side in ("left", "right")}  # [P, T] each
        masks = {side: seen.batch[f"{side}_mask"] for side in ("left", "right")}
        hidden = {side: self.lower(ids[side], masks[side]).float() for side in ids}
        means = [pooled(hidden[side], masks[side]) for side in ("left", "right")]
        loss = info_nce(means[0], means[1], self.settings.temperature)
        self.said = {"contrast": float(loss.detach())}
        loss = self.settings.weight * loss
        if self.original is None:
            return loss
        with torch.no_grad():
            before = self.original(ids["right"], masks["right"]).float()
        moved = ((hidden["right"] - before) ** 2).mean(-1)[masks["right"].bool()].mean()
        self.said["anchor"] = float(moved.detach())
        return loss + self.settings.anchor * moved

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves the original along to another device or type."""
        if self.original is not None:
            for module in (self.original.embeddings, *self.original.layers):
                module._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _frozen_copy(half: LowerHalf) -> LowerHalf:
    parts = [
        copy.deepcopy(module).requires_grad_(False).eval()
        for module in (half.embeddings, *half.layers)
    ]
    return LowerHalf(parts[0], parts[1:])
