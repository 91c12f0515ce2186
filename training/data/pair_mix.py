"""What a translator learns from beside real pairs: synthetic ones, and noised text to mend.

Back-translation (Sennrich et al. 2016) with a tag on the synthetic sources (Caswell et al. 2019),
for the whole run or only the first part of it; denoising of text in one language as pairs.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import Field
from transformers import PreTrainedTokenizerBase

from langmod.config import Frozen
from langmod.errors import ConfigError, DataError
from training.data.corpus import pair_file, read_lines, read_text
from training.data.noise import Noise, noised
from training.data.pairs import Direction, Drawn, Pair, encode_pairs

Item = TypeVar("Item")


class Synthetic(Frozen):
    """Machine-made pairs: a corpus of ``training back_translate``."""

    corpus: Path
    share: float = Field(default=0.4, gt=0, lt=1)
    """Their share of the examples, as long as they are mixed in."""
    tag: str | None = "<bt>"
    """Stands before their sources, so that the model can tell them apart; None: nothing does."""
    until: float = Field(default=1.0, gt=0, le=1)
    """Part of the run after which all pairs are real."""


class Denoising(Frozen):
    """Text of each language as pairs: noise in, the sentence out."""

    share: float = Field(default=0.15, gt=0, lt=1)
    """Their share of the examples."""
    noise: Noise = Noise()


class PairMix(Frozen):
    """All that is mixed in."""

    synthetic: Synthetic | None = None
    denoising: Denoising | None = None

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of synthetic and of denoising pairs, while both are mixed in.

        Raises:
            ConfigError: nothing is left for real pairs.
        """
        found = (
            self.synthetic.share if self.synthetic else 0.0,
            self.denoising.share if self.denoising else 0.0,
        )
        if sum(found) >= 1:
            raise ConfigError(f"shares of synthetic and denoising pairs are {found}: no real ones")
        return found


class PairReader:
    """Text to pairs of ids, for the directions of one run."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        language_tokens: Mapping[str, int],
        limit: int,
        seed: int,
    ) -> None:
        """``limit``: tokens of a side at most."""
        self.tokenizer, self.limit, self.seed = tokenizer, limit, seed
        self.language_tokens = language_tokens

    def encode(self, rows: Sequence[tuple[str, str]], direction: Direction) -> list[Pair]:
        """Pairs of a direction; those that are too long are left out."""
        source, target = (self.language_tokens[each] for each in direction)
        return encode_pairs(self.tokenizer, rows, (source, target), self.limit)

    def synthetic(
        self, settings: Synthetic, directions: Sequence[Direction]
    ) -> dict[Direction, list[Pair]]:
        """Machine-made pairs of those directions that have some, each source behind the tag.

        Raises:
            DataError: no direction has any.
        """
        tag = f"{settings.tag} " if settings.tag else ""
        found = {}
        for direction in directions:
            rows = read_directed(settings.corpus, direction)
            if pairs := self.encode([(tag + source, target) for source, target in rows], direction):
                found[direction] = pairs
        if not found:
            wanted = ", ".join("-".join(each) for each in directions)
            raise DataError(settings.corpus, None, f"no synthetic pairs of {wanted}")
        return found

    def denoising(
        self, settings: Denoising, corpus: Path, tags: Sequence[str], most: int
    ) -> dict[Direction, list[Pair]]:
        """Pairs at most so many noised sentences of each language with the sentences themselves."""
        mask = self.tokenizer.mask_token or self.tokenizer.unk_token
        rng = np.random.default_rng((self.seed, 1))
        found = {}
        for tag in tags:
            texts = sampled(read_text(corpus, tag, "train"), most, self.seed)
            rows = [(noised(text, settings.noise, mask, rng), text) for text in texts]
            found[tag, tag] = self.encode(rows, (tag, tag))
        return found


def mixed_phases(
    reader: PairReader, mix: PairMix, real: Mapping[Direction, list[Pair]], run: tuple[Path, int]
) -> list[list[Drawn]]:
    """The phases of a run: what is mixed in until when. ``run``: its corpus, its examples.

    Raises:
        ConfigError: shares that leave no room for real pairs.
        DataError: a corpus without what is asked for.
    """
    corpus, total = run
    synthetic_share, denoising_share = mix.shares
    groups: list[tuple[Mapping[Direction, list[Pair]], float]] = []
    first = total
    if mix.denoising:
        tags = sorted({tag for direction in real for tag in direction})
        most = round(total * denoising_share)
        groups.append((reader.denoising(mix.denoising, corpus, tags, most), denoising_share))
    phases = [groups]
    if mix.synthetic:
        pairs = reader.synthetic(mix.synthetic, list(real))
        first = round(total * mix.synthetic.until)
        phases = [[*groups, (pairs, synthetic_share)], groups]
    sizes = (first, total - first)
    return [_drawn(real, kinds, size) for kinds, size in zip(phases, sizes, strict=False) if size]


def _drawn(
    real: Mapping[Direction, list[Pair]],
    kinds: Sequence[tuple[Mapping[Direction, list[Pair]], float]],
    size: int,
) -> list[Drawn]:
    drawn = [(pairs, round(size * share)) for pairs, share in kinds]
    return [(real, size - sum(count for _, count in drawn)), *drawn]


def read_directed(corpus: Path, direction: Direction) -> list[tuple[str, str]]:
    """Training pairs that are stored for this direction alone, machine-made source first."""
    path = corpus / pair_file("-".join(direction), "train")
    cells = [line.split("\t") for line in read_lines(path)] if path.is_file() else []
    return [(each[0], each[1]) for each in cells]


def sampled(items: Sequence[Item], most: int | None, seed: int) -> list[Item]:
    """Draws at most so many items by seed, in their order; None: all."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[place] for place in sorted(random.Random(seed).sample(range(len(items)), most))]
