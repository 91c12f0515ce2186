"""Sentence pairs for translators: both directions of every pair, language tokens in front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from training.data.packing import IGNORED, token_lists
from training.data.sampling import draw, draws_per_language

Direction = tuple[str, str]
POOL = 50
"""Batches among which examples are sorted by length."""


@dataclass(frozen=True)
class Pair:
    """One source and target as ids, ``[language] tokens </s>`` each."""

    source: list[int]
    target: list[int]

    def __len__(self) -> int:
        """Tokens of both sides."""
        return len(self.source) + len(self.target)


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    tokens: tuple[int, int],
    limit: int,
) -> list[Pair]:
    """Pairs as ids between a language token of ``tokens`` and the end token.

    Pairs with a side longer than ``limit`` tokens are left out: cutting one side would teach the
    model to drop the end of a sentence.
    """
    end = tokenizer.eos_token_id
    sources = token_lists(tokenizer, [source for source, _ in pairs])
    targets = token_lists(tokenizer, [target for _, target in pairs])
    return [
        Pair([tokens[0], *source, end], [tokens[1], *target, end])
        for source, target in zip(sources, targets, strict=True)
        if len(source) + 2 <= limit and len(target) + 2 <= limit
    ]


Drawn = tuple[Mapping[Direction, list[Pair]], int]
"""Pairs of one kind (real, synthetic, denoising), and how many examples are drawn of them."""


class PairDataset(Dataset[Pair]):
    """Pairs of several directions in one seeded order that already holds every repetition.

    Neighbours in the order are of like length, so that a batch has little padding. Phases follow
    one another; the kinds of pairs in one phase are mixed.
    """

    def __init__(
        self,
        phases: Sequence[Sequence[Drawn]],
        mix: tuple[float, float],
        batch_and_seed: tuple[int, int],
    ) -> None:
        """``mix`` is the sampling exponent and the cap on epochs per direction, for each kind."""
        batch, seed = batch_and_seed
        rng = np.random.default_rng(seed)
        self.draws: list[list[dict[str, int]]] = []
        """Orders of pairs by phase, kind and direction."""
        self.rows: list[Pair] = []
        for phase in phases:
            drawn = [draw_pairs(pairs, count, mix, rng) for pairs, count in phase]
            own = [pair for _, pairs in drawn for pair in pairs]
            self.draws.append([counts for counts, _ in drawn])
            self.rows += [own[place] for place in length_grouped(list(map(len, own)), batch, rng)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:
        return self.rows[index]


def draw_pairs(
    pairs: Mapping[Direction, list[Pair]],
    total: int,
    mix: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[dict[str, int], list[Pair]]:
    """About ``total`` pairs, and how many of each direction."""
    names = {f"{source}-{target}": rows for (source, target), rows in pairs.items()}
    draws = draws_per_language({name: len(rows) for name, rows in names.items()}, total, *mix)
    drawn = [
        rows[index]
        for name, rows in names.items()
        for index in draw(len(rows), draws.get(name, 0), rng)
    ]
    return draws, drawn


def length_grouped(
    lengths: Sequence[int], batch: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A random order in which each run of ``batch`` neighbours has like lengths."""
    shuffled = rng.permutation(len(lengths))
    sizes = np.asarray(lengths)
    pools = [shuffled[i : i + POOL * batch] for i in range(0, len(shuffled), POOL * batch)]
    pools = [pool[np.argsort(sizes[pool], kind="stable")] for pool in pools]
    batches = [pool[i : i + batch] for pool in pools for i in range(0, len(pool), batch)]
    whole = [each for each in batches if len(each) == batch]
    rest = [each for each in batches if len(each) < batch]
    order = [whole[i] for i in rng.permutation(len(whole))] + rest
    return np.concatenate(order) if order else shuffled


class PairCollator:
    """Pads pairs; the decoder reads the target shifted right behind its start token."""

    def __init__(self, pad: int, start: int) -> None:
        self.pad, self.start = pad, start

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Source ids and mask ``[B, S]``, shifted target and labels ``[B, T]``."""
        sources = _padded([pair.source for pair in pairs], self.pad)  # [B, S]
        shifted = _padded([[self.start, *pair.target[:-1]] for pair in pairs], self.pad)  # [B, T]
        return {
            "input_ids": sources,
            "attention_mask": (sources != self.pad).long(),
            "decoder_input_ids": shifted,
            "labels": _padded([pair.target for pair in pairs], IGNORED),
        }


def _padded(rows: Sequence[list[int]], value: int) -> torch.Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
