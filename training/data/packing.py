"""Token blocks for masked language modelling: whole sentences packed, masks drawn per batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from langmod.encoding import TextEncoder
from training.data.sampling import draw, draws_per_language

IGNORED = -100
"""Label of a position that gives no loss, as torch's cross entropy has it."""
ENCODE_CHUNK = 2000
OPEN = 32
"""Blocks that wait for sentences which fill them up."""


@dataclass(frozen=True)
class Special:
    """Ids that frame a block."""

    start: int
    end: int
    pad: int
    mask: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Special":
        """Reads them from a tokenizer of RoBERTa's or BERT's kind."""
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        return cls(
            tokenizer.cls_token_id if start is None else start,
            tokenizer.sep_token_id if end is None else end,
            tokenizer.pad_token_id,
            tokenizer.mask_token_id,
        )

    @classmethod
    def read_by(cls, encoder: TextEncoder) -> "Special":
        """Reads them from what an encoder puts around a text."""
        ends, base = encoder.encode("").token_ids, encoder.base
        assert base.mask_id is not None, "translators mask nothing"
        return cls(int(ends[0]), int(ends[-1]), base.pad_id, base.mask_id)


def token_lists(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[list[int]]:
    """The ids of each text without special tokens, a chunk at a time to bound memory."""
    for start in range(0, len(texts), ENCODE_CHUNK):
        chunk = list(texts[start : start + ENCODE_CHUNK])
        yield from tokenizer(chunk, add_special_tokens=False)["input_ids"]


def pack(sentences: Iterable[list[int]], special: Special, size: int) -> NDArray[np.int32]:
    """Blocks ``[N, size]`` of whole sentences: ``<s> a </s> b </s> … <pad>``.

    A sentence goes into the fullest of the last ``OPEN`` blocks that has room for it, so that
    blocks are nearly full; one longer than a block is cut.
    """
    blocks: list[list[int]] = []
    open_blocks: list[list[int]] = []
    for ids in sentences:
        piece = [*ids[: size - 2], special.end]
        room = [block for block in open_blocks if len(block) + len(piece) <= size]
        if room:
            max(room, key=len).extend(piece)
            continue
        if len(open_blocks) == OPEN:
            blocks.append(open_blocks.pop(open_blocks.index(max(open_blocks, key=len))))
        open_blocks.append([special.start, *piece])
    blocks += open_blocks
    packed = np.full((len(blocks), size), special.pad, np.int32)
    for row, block in zip(packed, blocks, strict=True):
        row[: len(block)] = block
    return packed


class Block(TypedDict):
    """One example of masked language modelling."""

    input_ids: NDArray[np.int32]
    """``[T]``"""
    place: int
    """Its place in the order of the run."""


class BlockDataset(Dataset[Block]):
    """Blocks of several languages in one seeded order that already holds every repetition."""

    def __init__(
        self,
        blocks: Mapping[str, NDArray[np.int32]],
        total: int,
        mix: tuple[float, float],
        seed: int,
    ) -> None:
        """``mix`` is the sampling exponent and the cap on epochs per language."""
        rng = np.random.default_rng(seed)
        sizes = {language: len(rows) for language, rows in blocks.items()}
        self.draws = draws_per_language(sizes, total, *mix)
        offsets = np.cumsum([0, *sizes.values()])
        order = [
            draw(sizes[language], self.draws.get(language, 0), rng) + offset
            for language, offset in zip(blocks, offsets, strict=False)
        ]
        self.blocks = np.concatenate(list(blocks.values()))
        self.order = rng.permutation(np.concatenate(order))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Block:
        return {"input_ids": self.blocks[self.order[index]], "place": index}


class MaskingCollator:
    """Hides tokens at random: of the chosen 80 % become the mask, 10 % another token, 10 % stay.

    Devlin et al. 2019; drawn anew whenever a block comes up, as RoBERTa does (Liu et al. 2019).
    What is drawn depends on the seed and the block's place in the run alone: a run that goes on
    after a kill hides the same tokens, and so do several processes together.
    """

    def __init__(
        self,
        special: Special,
        vocabulary: int,
        rate: float,
        seed: int,
        places: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """``places``: ids of hidden tokens → labels, where a head does not know all of them."""
        self.special, self.vocabulary, self.rate, self.seed = special, vocabulary, rate, seed
        self.places = places

    def __call__(self, rows: Sequence[Block]) -> dict[str, torch.Tensor]:
        """Stacks blocks into ``input_ids``, ``attention_mask`` and ``labels``, each ``[B, T]``."""
        ids = torch.from_numpy(np.stack([row["input_ids"] for row in rows])).long()  # [B, T]
        real = ids != self.special.pad  # [B, T]
        framed = (ids == self.special.start) | (ids == self.special.end)
        drawn = [self._draw(row["place"], ids.shape[1]) for row in rows]
        chance, fate, other = (
            torch.from_numpy(np.stack(each)) for each in zip(*drawn, strict=True)
        )  # [B, T] each
        chosen = (chance < self.rate) & real & ~framed
        labels = ids.masked_fill(~chosen, IGNORED)
        masked = torch.where(chosen & (fate < 0.8), self.special.mask, ids)
        masked = torch.where(chosen & (fate >= 0.9), other, masked)
        if self.places is not None:
            labels = torch.where(chosen, self.places(ids), IGNORED)
        return {"input_ids": masked, "attention_mask": real.long(), "labels": labels}

    def _draw(self, place: int, size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Whether a token is chosen, what becomes of it, another token: ``[T]`` each."""
        rng = np.random.default_rng((self.seed, place))
        return rng.random(size), rng.random(size), rng.integers(5, self.vocabulary, size)
