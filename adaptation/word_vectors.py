"""Where the word vectors of a new vocabulary start: at random, or at the base's for shared tokens.

Another start (FOCUS, WECHSEL) is one more function in ``STARTS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from adaptation.architectures import Architecture
from adaptation.bases import write_fast_tokenizer
from langmod.errors import ConfigError
from langmod.specs import Vocabulary

PURPOSES = ("bos", "cls", "eos", "sep", "pad", "unk", "mask")
PARTNERS = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
"""Special tokens that stand for one another where a tokenizer has only one of them."""
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Spelling:
    """The tokens of a vocabulary."""

    tokens: Mapping[str, int]
    """Tokens as the vocabulary spells them → id."""
    special: Mapping[str, int] = field(default_factory=dict)
    """What a special token is for (``pad``, ``mask`` …) → id."""

    @property
    def size(self) -> int:
        """V."""
        return max(self.tokens.values()) + 1

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Spelling":
        """Reads a tokenizer."""
        special = {each: getattr(tokenizer, f"{each}_token_id") for each in PURPOSES}
        known = {each: number for each, number in special.items() if number is not None}
        return cls(tokenizer.get_vocab(), known)

    @property
    def purposes(self) -> set[str]:
        """What it has special tokens for."""
        return {*self.special, *(PARTNERS[each] for each in self.special.keys() & PARTNERS.keys())}

    def like(self, purpose: str) -> int:
        """The special token for one of its purposes, or the one that takes its part."""
        return self.special[purpose if purpose in self.special else PARTNERS[purpose]]


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder of ``training tokenizer``, or of a base.

    Raises:
        ConfigError: no tokenizer there, or none that has a mask and padding.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"tokenizer: {folder} holds none: {error}") from error
    if not {"mask", "pad", "eos"} <= Spelling.of(tokenizer).purposes:
        raise ConfigError(f"tokenizer: that of {folder} has no mask, padding or end token")
    return tokenizer


def tokenizer_folder(chosen: str | None, base: Architecture) -> Path | None:
    """Where a module's tokenizer lies, the base's if none was chosen; None: the base has no files.

    Raises:
        ConfigError: there is no such folder.
    """
    if chosen is not None:
        if not Path(chosen).is_dir():
            raise ConfigError(f"tokenizer: there is no folder {chosen}")
        return Path(chosen)
    folder = Path(base.model.config.name_or_path)
    return folder if (folder / TOKENIZER).is_file() else None


def spelling_in(folder: Path | None, base: Architecture) -> Spelling:
    """The tokens of a folder's tokenizer; without one the base's, known by their ids."""
    if folder is not None:
        return Spelling.of(read_tokenizer(folder))
    return Spelling({str(each): each for each in range(base.vocabulary_size)})


def described(folder: Path) -> Vocabulary:
    """What to know of a folder's tokenizer, whose ``tokenizer.json`` is written if it is not there.

    Raises:
        ConfigError: no tokenizer there, or none that can be served.
    """
    tokenizer = read_tokenizer(folder)
    write_fast_tokenizer(folder, tokenizer)
    spelling = Spelling.of(tokenizer)
    return Vocabulary(
        size=spelling.size,
        pad_id=spelling.special["pad"],
        eos_id=spelling.like("eos"),
        mask_token=str(tokenizer.mask_token),
        mask_id=spelling.special["mask"],
        sha256="",
    )


@dataclass(frozen=True, eq=False)
class Transfer:
    """A new vocabulary beside that of its base, whose word vectors and output bias are known."""

    own: Spelling
    base: Spelling
    table: Tensor
    """``[V, D]`` of the base."""
    bias: Tensor
    """``[V]`` of the base's vocabulary head."""

    def special(self) -> list[tuple[int, int]]:
        """Own and base's id of the special tokens that both have."""
        shared = self.own.special.keys() & self.base.purposes
        return sorted((self.own.special[each], self.base.like(each)) for each in shared)

    def alike(self) -> list[tuple[int, int]]:
        """Own and base's id of the tokens that both spell alike."""
        shared = self.own.tokens.keys() & self.base.tokens.keys()
        return sorted((self.own.tokens[name], self.base.tokens[name]) for name in shared)


Started = tuple[Tensor, Tensor]
"""Word vectors ``[V, D]`` and output bias ``[V]`` of the new vocabulary."""


def at_random(transfer: Transfer, generator: Generator) -> Started:
    """Draws vectors as far from zero as the base's, in no direction; bias 0 (Lee et al. 2021)."""
    size, width = transfer.own.size, transfer.table.shape[1]
    vectors = torch.empty(size, width).normal_(generator=generator) * transfer.table.std()
    return _copied((vectors, torch.zeros(size)), transfer, transfer.special())


def from_overlap(transfer: Transfer, generator: Generator) -> Started:
    """The base's vectors and biases where both spell a token alike, others at random."""
    started = at_random(transfer, generator)
    return _copied(started, transfer, [*transfer.alike(), *transfer.special()])


STARTS: Mapping[str, Callable[[Transfer, Generator], Started]] = {
    "random": at_random,
    "overlap": from_overlap,
}


def _copied(started: Started, transfer: Transfer, pairs: list[tuple[int, int]]) -> Started:
    known = dict(pairs)
    own, theirs = list(known), list(known.values())
    vectors, bias = started
    vectors[own], bias[own] = transfer.table[theirs], transfer.bias[theirs]
    return vectors, bias
