"""What language modules learn from: masked text of one language, or pairs of one direction."""

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from langmod.languages import canonical
from langmod.specs import BaseSpec
from training.data.corpus import read_pairs, read_text
from training.data.packing import BlockDataset, MaskingCollator, Special, pack, token_lists
from training.data.pair_mix import PairReader, mixed_phases, sampled
from training.data.pairs import PairCollator, PairDataset
from training.modules.settings import ModuleConfig

EVERYTHING = (1.0, float("inf"))
"""One language: no balance to keep, as many epochs as the steps ask for."""


def masked_text(
    config: ModuleConfig,
    tokenizer: PreTrainedTokenizerBase,
    examples: int,
    places: Callable[[Tensor], Tensor] | None = None,
) -> tuple[BlockDataset, MaskingCollator]:
    """Packed blocks of the language's training text, masked anew in each batch.

    ``places``: labels of a head that does not know all tokens.
    """
    special, tag = Special.of(tokenizer), canonical(config.language or "")
    blocks = pack(token_lists(tokenizer, training_text(config)), special, config.block_tokens)
    seed = config.optimisation.seed
    data = BlockDataset({tag: blocks}, examples, EVERYTHING, seed)
    return data, MaskingCollator(special, len(tokenizer), config.mask_rate, seed, places)


def training_text(config: ModuleConfig) -> list[str]:
    """What a language module learns from."""
    texts = read_text(config.text, canonical(config.language or ""), "train")
    return texts[: config.max_sentences]


def one_direction(
    config: ModuleConfig, tokenizer: PreTrainedTokenizerBase, base: BaseSpec, examples: int
) -> tuple[PairDataset, PairCollator]:
    """Training pairs from the source to the target language."""
    source, target = canonical(config.source or ""), canonical(config.target or "")
    settings = config.optimisation
    reader = PairReader(tokenizer, base.language_tokens, config.block_tokens, settings.seed)
    rows = read_pairs(config.text, source, target, "train")
    rows = sampled(rows, config.max_pairs, settings.seed)
    real = {(source, target): reader.encode(rows, (source, target))}
    phases = mixed_phases(reader, config.mixed_in, real, (config.text, examples))
    data = PairDataset(phases, EVERYTHING, (settings.batch_size, settings.seed))
    return data, PairCollator(base.pad_id, base.decoder_start_id or base.eos_id)
