"""Batches of sentence pairs, drawn by kind and language, each of like length and like cost.

The n-th batch of a run is always the same, whatever was read before it: pools of pairs are drawn
from a seed and the pool's number, sorted by target language and length and cut into equally many
batches of equally many target tokens. So a run resumes in the middle without reading what it has
read, and the softmax of a batch needs the pieces of few languages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from training.data.packing import IGNORED
from training.data.piece_noise import PieceNoise, noised_pieces
from training.data.token_rows import PairRows

Pair = tuple[NDArray[np.int32], NDArray[np.int32], int]
"""Source ids, target ids, the id of the target's language token."""


@dataclass(frozen=True)
class Drawn:
    """Pairs of one direction and kind, and how often they are drawn."""

    name: str
    rows: PairRows
    language_id: int
    """The token that tells the decoder which language to write."""
    share: float
    """Of all pairs of the run."""
    noise: PieceNoise | None = None
    """Denoising: the noise that a source gets anew each time it is drawn."""


@dataclass(frozen=True)
class Special:
    """Ids that stand for no text."""

    source_pad: int
    source_mask: int
    start: int
    end: int


class PairBatches(Dataset[dict[str, Tensor]]):
    """All batches of a run."""

    def __init__(
        self,
        drawn: Sequence[Drawn],
        special: Special,
        sizes: tuple[int, int, int],
        seed: int,
    ) -> None:
        """``sizes``: batches of the run, pairs of a pool, batches of a pool."""
        self.drawn, self.special, self.seed = list(drawn), special, seed
        self.batches, self.pool_pairs, self.pool_batches = sizes
        self.shares = np.array([each.share for each in drawn])
        self._pool = lru_cache(maxsize=1)(self._draw)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pool, place = divmod(index, self.pool_batches)
        return collate(self._pool(pool)[place], self.special)

    def _draw(self, pool: int) -> list[list[Pair]]:
        rng = np.random.default_rng((self.seed, pool))
        counts = rng.multinomial(self.pool_pairs, self.shares / self.shares.sum())
        pairs = [
            self._pair(each, int(row), rng)
            for each, count in zip(self.drawn, counts, strict=True)
            for row in rng.integers(0, len(each.rows), count)
        ]
        pairs.sort(key=lambda pair: (pair[2], len(pair[1]), len(pair[0])))
        parts = cut_evenly(np.array([len(pair[1]) for pair in pairs]), self.pool_batches)
        order = rng.permutation(self.pool_batches)
        return [pairs[parts[place] : parts[place + 1]] for place in order]

    def _pair(self, drawn: Drawn, row: int, rng: np.random.Generator) -> Pair:
        source, target = drawn.rows.sources[row], drawn.rows.targets[row]
        if drawn.noise is not None:
            source = noised_pieces(source, drawn.noise, self.special.source_mask, rng)
        return source, target, drawn.language_id


def cut_evenly(lengths: NDArray[np.int64], parts: int) -> list[int]:
    """Where a list is cut so that each part has about the same sum; none is empty."""
    reached = np.cumsum(lengths)
    cuts = np.searchsorted(reached, reached[-1] * np.arange(1, parts) / parts) + 1
    spread = np.maximum.accumulate(cuts - np.arange(1, parts)) + np.arange(1, parts)
    spread = np.minimum(spread, len(lengths) - parts + np.arange(1, parts))
    return [0, *map(int, spread), len(lengths)]


def collate(pairs: Sequence[Pair], special: Special) -> dict[str, Tensor]:
    """Sources and mask ``[B, S]``; what the decoder reads and is to say ``[B, T]``."""
    sources = padded([pair[0] for pair in pairs], special.source_pad)
    read, labels = [], []
    for _, target, language in pairs:
        read.append([special.start, language, *target])
        labels.append([IGNORED, *target, special.end])
    return {
        "input_ids": sources,
        "attention_mask": (sources != special.source_pad).long(),
        "decoder_input_ids": padded(read, special.end),
        "labels": padded(labels, IGNORED),
    }


def padded(rows: Sequence[Sequence[int] | NDArray[np.int32]], value: int) -> Tensor:
    """Rows ``[B, T]`` with a value where the shorter ones end."""
    width = max(len(row) for row in rows)
    found = np.full((len(rows), width), value, np.int64)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return torch.from_numpy(found)


def most_frequent(
    drawn: Sequence[Drawn], size: int, vocabulary: int
) -> dict[int, NDArray[np.int64]]:
    """Language token → the pieces that its targets have most often, at most ``size``, sorted."""
    counts: dict[int, NDArray[np.float64]] = {}
    for each in drawn:
        seen = np.bincount(each.rows.targets.ids, minlength=vocabulary)
        own = counts.setdefault(each.language_id, np.zeros(vocabulary))
        own += seen * (each.share / max(1, len(each.rows)))
    found = {}
    for language, own in counts.items():
        often = np.argsort(-own, kind="stable")[:size]
        found[language] = np.sort(often[own[often] > 0])
    return found


def shares_of(
    sizes: Mapping[tuple[str, str], int], by_kind: Mapping[str, float], exponent: float
) -> dict[tuple[str, str], float]:
    """Share of each (direction, kind): a kind's own, split among directions by size ** exponent."""
    weights = {group: size**exponent for group, size in sizes.items()}
    totals: dict[str, float] = {}
    for (_, kind), weight in weights.items():
        totals[kind] = totals.get(kind, 0.0) + weight
    return {
        group: by_kind[group[1]] * weight / totals[group[1]] for group, weight in weights.items()
    }
