"""``training vocabulary``: a base with other tokens, whose vectors start by one of several rules.

At random (Lee et al. 2021), where both vocabularies spell alike, or as means of known vectors:
FOCUS (Dobler and de Melo 2023, arXiv 2305.14481) takes those of tokens spelt alike that neighbour a
token in the new language's own text, WECHSEL (Minixhofer et al. 2022, arXiv 2112.06598) those of
the base's tokens that are near once both texts' vectors are laid on one another by a dictionary.
Static vectors are factorised PPMI here, not fastText's, and the dictionary is read from parallel
text.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase, set_seed

from adaptation.architectures import Architecture, load_base
from adaptation.bases import describe_base, load_spec, resolve_base
from adaptation.word_vectors import STARTS, Spelling, Started, Transfer, at_random, read_tokenizer
from langmod.config import RunConfig
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec
from training.data.corpus import read_pairs, read_text
from training.data.packing import Special, pack, token_lists
from training.models.base import save_halves
from training.models.static_vectors import token_vectors
from training.models.word_alignment import rotation, token_dictionary

Vectors = NDArray[np.float32]
WIDTH = 128
"""Width of static vectors."""
BLOCK = 64
"""Tokens in a row when neighbours are counted."""
LEAST = 3
"""Pairs that an entry of the dictionary stands in."""


class VocabularyConfig(RunConfig):
    """One run of ``training vocabulary``."""

    name: str
    base: str
    tokenizer: Path
    """A folder of ``training tokenizer``, or a base whose tokens are taken."""
    language: str
    start: Literal["random", "overlap", "focus", "procrustes"] = "random"
    blank: bool = False
    """The layers start at random too: a model from scratch of the base's shape."""
    corpus: Path | None = None
    """``focus`` and ``procrustes``: text of the language; the latter reads the pivot's and pairs,
    too."""
    pivot: str = "en"
    """``procrustes``: the language of the base that the dictionary leads to."""
    neighbours: int = 10
    temperature: float = 0.1
    seed: int = 1
    out: Path


def replace_vocabulary(config: VocabularyConfig) -> BaseSpec:
    """Writes the base with its new tokens.

    Raises:
        ConfigError: no such base or tokenizer, or a start that lacks its text.
        DataError: a corpus without the languages.
    """
    set_seed(config.seed)
    folder = resolve_base(config.base)
    spec, architecture = load_spec(folder), load_base(folder)
    tokenizers = Tokenizers(read_tokenizer(config.tokenizer), read_tokenizer(folder))
    words, bias = started(config, architecture, tokenizers)
    if config.blank:
        architecture = type(architecture)(type(architecture.model)(architecture.model.config))
    fresh = with_words(architecture, (words, bias), tokenizers.own)
    save_halves(fresh, config.out)
    tokenizers.own.save_pretrained(config.out)
    return describe_base(config.out, config.name, (config.language,), spec.licence, spec.max_tokens)


@dataclass(frozen=True, eq=False)
class Tokenizers:
    """The new one beside the base's."""

    own: PreTrainedTokenizerBase
    base: PreTrainedTokenizerBase


def started(
    config: VocabularyConfig, architecture: Architecture, tokenizers: Tokenizers
) -> Started:
    """Word vectors ``[V, D]`` and output bias ``[V]`` of the new tokens.

    Raises:
        ConfigError: a start that lacks its text.
    """
    table = architecture.model.get_input_embeddings().weight.detach().float()
    bias: Tensor = architecture.vocabulary.get_parameter("bias").detach().float()
    transfer = Transfer(Spelling.of(tokenizers.own), Spelling.of(tokenizers.base), table, bias)
    generator = torch.Generator().manual_seed(config.seed)
    if config.start in STARTS:
        return STARTS[config.start](transfer, generator)
    text = StaticText(config, tokenizers)
    seen, weights = focus(transfer, text) if config.start == "focus" else procrustes(config, text)
    vectors, biases = at_random(transfer, generator)
    mixed = torch.from_numpy(weights)  # [S, V of the base]
    vectors[seen], biases[seen] = mixed @ table, mixed @ bias
    for own, theirs in transfer.special():
        vectors[own], biases[own] = table[theirs], bias[theirs]
    return vectors, biases


class StaticText:
    """Texts of both languages as tokens and as static vectors."""

    def __init__(self, config: VocabularyConfig, tokenizers: Tokenizers) -> None:
        """Reads nothing yet.

        Raises:
            ConfigError: the settings name no corpus.
        """
        if config.corpus is None:
            raise ConfigError(f"{config.name}: start {config.start} needs `corpus`")
        self.corpus, self.config, self.tokenizers = config.corpus, config, tokenizers

    def vectors(self, which: Literal["own", "base"]) -> tuple[NDArray[np.int64], Vectors]:
        """The tokens ``[S]`` that stand in the text, and vectors ``[S, WIDTH]`` of length 1."""
        language = self.config.language if which == "own" else self.config.pivot
        tokenizer: PreTrainedTokenizerBase = getattr(self.tokenizers, which)
        texts = read_text(self.corpus, canonical(language), "train")
        blocks = pack(token_lists(tokenizer, texts), Special.of(tokenizer), BLOCK)
        # Below the first id: they neighbour nothing.
        blocks[np.isin(blocks, tokenizer.all_special_ids)] = -1
        counts = np.bincount(blocks[blocks >= 0], minlength=len(tokenizer))
        found = token_vectors({language: blocks}, len(tokenizer), WIDTH, 0, self.config.seed)
        seen = np.flatnonzero(counts)
        return seen, unit(found[seen])

    def entries(self) -> NDArray[np.int64]:
        """The dictionary ``[E, 2]``: new token, base's token."""
        language, pivot = canonical(self.config.language), canonical(self.config.pivot)
        rows = read_pairs(self.corpus, language, pivot, "train")
        own = list(token_lists(self.tokenizers.own, [left for left, _ in rows]))
        theirs = list(token_lists(self.tokenizers.base, [right for _, right in rows]))
        sizes = len(self.tokenizers.own), len(self.tokenizers.base)
        return token_dictionary(list(zip(own, theirs, strict=True)), sizes, LEAST)


def focus(transfer: Transfer, text: StaticText) -> tuple[NDArray[np.int64], Vectors]:
    """Tokens ``[S]`` and the weights ``[S, V of the base]`` of known vectors.

    A token spelt alike takes the base's own; any other a sparse mean of these, by likeness in the
    language's text.

    Raises:
        ConfigError: no token of the text is spelt alike.
    """
    seen, vectors = text.vectors("own")
    alike = spelt_alike(transfer)
    known = [place for place, token in enumerate(seen.tolist()) if token in alike]
    if not known:
        raise ConfigError("focus: the vocabularies have no token in common in this text")
    theirs = np.array([alike[int(token)] for token in seen[known]])
    shares = sparsemax(vectors @ vectors[known].T)  # [S, O]
    shares[known] = np.eye(len(known), dtype=np.float32)
    weights = np.zeros((len(seen), transfer.base.size), np.float32)
    np.add.at(weights.T, theirs, shares.T)
    return seen, weights


def procrustes(config: VocabularyConfig, text: StaticText) -> tuple[NDArray[np.int64], Vectors]:
    """Starts from the nearest tokens of the base, once a dictionary laid both texts together.

    Raises:
        ConfigError: the parallel text gives no entries.
    """
    seen, vectors = text.vectors("own")
    theirs, known = text.vectors("base")
    entries = text.entries()
    entries = entries[np.isin(entries[:, 0], seen) & np.isin(entries[:, 1], theirs)]
    if not len(entries):
        raise ConfigError("procrustes: the parallel text gives no dictionary")
    rows = [np.searchsorted(seen, entries[:, 0]), np.searchsorted(theirs, entries[:, 1])]
    turned = vectors @ rotation(vectors[rows[0]], known[rows[1]])  # [S, WIDTH]
    likeness = turned @ known.T  # [S, tokens of the base's text]
    count = min(config.neighbours, likeness.shape[1])
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]  # [S, k]
    scores = np.take_along_axis(likeness, nearest, 1) / config.temperature
    shares = np.exp(scores - scores.max(1, keepdims=True))
    weights = np.zeros((len(seen), len(text.tokenizers.base)), np.float32)
    np.put_along_axis(weights, theirs[nearest], shares / shares.sum(1, keepdims=True), 1)
    return seen, weights


def spelt_alike(transfer: Transfer) -> dict[int, int]:
    """New token → the base's that stands for the same piece of text, special ones aside."""
    own, theirs = _forms(transfer.own), _forms(transfer.base)
    return {own[form]: theirs[form] for form in own.keys() & theirs.keys()}


def _forms(spelling: Spelling) -> dict[str, int]:
    """Tokens as SentencePiece writes them: WordPiece marks what goes on, not what begins a word."""
    special = set(spelling.special.values())
    tokens = {name: each for name, each in spelling.tokens.items() if each not in special}
    if not any(name.startswith("##") for name in tokens):
        return tokens
    return {
        name.removeprefix("##") if name.startswith("##") else f"▁{name}": each
        for name, each in tokens.items()
    }


def sparsemax(scores: Vectors) -> Vectors:
    """Rows ``[N, K]`` → the nearest probabilities, most of them 0 (Martins and Astudillo 2016)."""
    ordered = -np.sort(-scores, axis=1)
    sums = ordered.cumsum(1)
    counts = np.arange(1, scores.shape[1] + 1)
    size = (1 + counts * ordered > sums).sum(1)  # [N]
    shift = (np.take_along_axis(sums, size[:, None] - 1, 1) - 1) / size[:, None]
    found: Vectors = np.maximum(scores - shift, 0).astype(np.float32)
    return found


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = vectors / np.maximum(lengths, 1e-9)
    return found


def with_words(
    base: Architecture, words: Started, tokenizer: PreTrainedTokenizerBase
) -> Architecture:
    """Puts the same layers around other words.

    Raises:
        ConfigError: padding has another id, where positions are counted from it.
    """
    settings = copy.deepcopy(base.model.config)
    special = Special.of(tokenizer)
    if settings.model_type != "bert" and settings.pad_token_id != special.pad:
        raise ConfigError(
            f"tokenizer: padding is {special.pad}, the base's {settings.pad_token_id}; positions "
            f"of {settings.model_type} are counted from it"
        )
    settings.vocab_size, settings.pad_token_id = len(words[0]), special.pad
    settings.bos_token_id, settings.eos_token_id = special.start, special.end
    model: Any = type(base.model)(settings)
    fresh = type(base)(model)
    shapes = {name: each.shape for name, each in model.state_dict().items()}
    kept = {
        name: each for name, each in base.model.state_dict().items() if each.shape == shapes[name]
    }
    model.load_state_dict(kept, strict=False)
    model.get_input_embeddings().weight.data.copy_(words[0])
    model.tie_weights()
    fresh.vocabulary.get_parameter("bias").data.copy_(words[1])
    return fresh
