"""Rows of a joint run: blocks of text with their language, blocks of translations, sentence pairs.

A row depends on the seed and its place in the run alone, so that a run that goes on after a kill
reads the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from training.data.packing import Block, BlockDataset, MaskingCollator, Special
from training.data.sampling import draw
from training.objectives.middle import UNKNOWN

TokenPair = tuple[list[int], list[int]]
"""A sentence and the pivot's translation, without special tokens."""


class JointRow(TypedDict):
    """One example."""

    input_ids: NDArray[np.int32]
    """``[T]`` a packed block."""
    place: int
    language: int
    pairs: list[TokenPair]


@dataclass(frozen=True)
class Drawn:
    """What is drawn beside plain blocks."""

    translations: NDArray[np.int32] | None = None
    """``[N, T]`` blocks of pairs, each pair one sentence."""
    share: float = 0.0
    """The share of the rows that are such blocks."""
    pairs: Sequence[TokenPair] = ()
    each: int = 0
    """Pairs with every row."""


class JointRows(Dataset[JointRow]):
    """Blocks of several languages and of translations in one seeded order."""

    def __init__(
        self,
        blocks: Mapping[str, NDArray[np.int32]],
        total: int,
        mix: tuple[float, float],
        drawn: Drawn,
        seed: int,
    ) -> None:
        """``mix`` is the sampling exponent and the cap on epochs per language."""
        rng = np.random.default_rng((seed, 1))
        translated = 0 if drawn.translations is None else round(total * drawn.share)
        self.plain = BlockDataset(blocks, total - translated, mix, seed)
        self.bounds = np.cumsum([len(rows) for rows in blocks.values()])
        self.drawn = drawn
        known = 0 if drawn.translations is None else len(drawn.translations)
        self.translated = draw(known, translated, rng)
        # Each place holds the next plain block or, negative, the next translation.
        kinds = [np.arange(len(self.plain)), -1 - np.arange(len(self.translated))]
        self.order = rng.permutation(np.concatenate(kinds))
        self.pair_order = draw(len(drawn.pairs), len(self.order) * drawn.each, rng)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> JointRow:
        kind, each = int(self.order[index]), self.drawn.each
        own = self.pair_order[index * each : (index + 1) * each]
        pairs = [self.drawn.pairs[place] for place in own]
        if kind < 0 and self.drawn.translations is not None:
            ids = self.drawn.translations[self.translated[-1 - kind]]
            return {"input_ids": ids, "place": index, "language": UNKNOWN, "pairs": pairs}
        ids = self.plain[kind]["input_ids"]
        language = int(np.searchsorted(self.bounds, self.plain.order[kind], side="right"))
        return {"input_ids": ids, "place": index, "language": language, "pairs": pairs}


class JointCollator:
    """Masks blocks and pads pairs."""

    def __init__(self, masking: MaskingCollator, special: Special, tokens: int) -> None:
        """``tokens``: of the longest sentence of a pair, special ones included."""
        self.masking, self.special, self.tokens = masking, special, tokens

    def __call__(self, rows: Sequence[JointRow]) -> dict[str, Tensor]:
        """What masking gives, besides ``languages [B]``, ``sentences [B, T]`` and the pairs."""
        blocks: list[Block] = [
            {"input_ids": row["input_ids"], "place": row["place"]} for row in rows
        ]
        ids = torch.from_numpy(np.stack([row["input_ids"] for row in rows])).long()  # [B, T]
        found = self.masking(blocks)
        found["languages"] = torch.tensor([row["language"] for row in rows])
        found["sentences"] = sentence_numbers(ids, self.special)
        pairs = [pair for row in rows for pair in row["pairs"]]
        if pairs:
            for side, name in enumerate(("left", "right")):
                found |= self._padded(name, [pair[side] for pair in pairs])
        return found

    def _padded(self, name: str, sentences: list[list[int]]) -> dict[str, Tensor]:
        framed = [
            torch.tensor([self.special.start, *ids[: self.tokens - 2], self.special.end])
            for ids in sentences
        ]
        ids = torch.nn.utils.rnn.pad_sequence(
            framed, batch_first=True, padding_value=self.special.pad
        )
        return {f"{name}_ids": ids, f"{name}_mask": (ids != self.special.pad).long()}


def sentence_numbers(ids: Tensor, special: Special) -> Tensor:
    """Which sentence of its block ``[B, T]`` a token belongs to; -1 for those that frame them."""
    ends = ids == special.end
    framing = ends | (ids == special.start) | (ids == special.pad)
    return (ends.long().cumsum(1) - ends.long()).masked_fill(framing, -1)
