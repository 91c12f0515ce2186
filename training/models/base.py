"""``training base``: a multilingual base from a corpus folder, XLM-R or M2M100 architecture."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field
from transformers import (
    AutoTokenizer,
    M2M100ForConditionalGeneration,
    PreTrainedTokenizerBase,
    XLMRobertaForMaskedLM,
    set_seed,
)

from adaptation.architectures import (
    Architecture,
    EncoderArchitecture,
    M2M100Architecture,
    load_base,
)
from adaptation.bases import describe_base, language_token, load_spec, resolve_base
from langmod.config import RunConfig
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec, Kind
from training.data.corpus import corpus_digest, read_pairs, read_text
from training.data.packing import BlockDataset, MaskingCollator, Special, pack, token_lists
from training.data.pair_mix import PairMix, PairReader, mixed_phases, sampled
from training.data.pairs import Direction, Pair, PairCollator, PairDataset
from training.loop.checkpoints import saving
from training.loop.labels import known_labels
from training.loop.trainer import Optimisation, SparseTrainer, arguments, examples_of, fit
from training.models.cards import write_base_card
from training.models.sizes import (
    SHAPES,
    Size,
    encoder_config,
    translator_config,
)
from training.models.starting_weights import informed_start

SEED = 1
"""Seed of the sample that makes a language low-resource: the same in every run."""


class BaseConfig(RunConfig):
    """One run of ``training base``."""

    name: str
    kind: Kind
    size: Size = "mini"
    start_from: str | None = None
    """A hub id or folder to go on from; its tokenizer and shape are kept. None: from scratch."""
    corpus: Path
    tokenizer: Path | None = None
    """Needed when training from scratch."""
    languages: tuple[str, ...]
    pivot: str = "en"
    """Translator: the language every pair shares."""
    out: Path
    run_folder: Path
    """Checkpoints and TensorBoard events; a killed run goes on from here."""
    licence: str = "CC-BY-SA-4.0"
    block_tokens: int = 128
    mask_rate: float = 0.15
    learns: Literal["all", "words"] = "all"
    """Encoder: ``words`` keeps all but word vectors and output bias as they are."""
    dropout: float = 0.1
    informed_start: bool = True
    """Encoder from scratch: word vectors, positions and attention set before the first step."""
    max_sentences: Mapping[str, int] = Field(default_factory=dict)
    """Language → at most so many training sentences of it, a fixed sample: it becomes poor."""
    sampling_exponent: float = 0.5
    epoch_cap: float = 20.0
    max_pairs: int | None = None
    """Translator: at most so many training pairs of each two languages, drawn by seed."""
    mixed_in: PairMix = PairMix()
    """Translator: synthetic pairs and denoising beside the real pairs."""
    optimisation: Optimisation


def train_base(config: BaseConfig) -> BaseSpec:
    """Trains, writes the checkpoint with fp16 weights, ``base.json``, card and curves.

    Raises:
        ConfigError: a field that does not fit the others, or no usable start.
        DataError: a corpus without the languages asked for.
        NotFinite: the loss or a weight is NaN or infinite.
        NotSaved: a full disk, or another fault of it.
    """
    if config.kind == "encoder" and (config.mixed_in != PairMix() or config.max_pairs):
        raise ConfigError(f"{config.name}: mixed_in and max_pairs are for translators")
    set_seed(config.optimisation.seed)
    architecture, tokenizer = start(config)
    if config.learns == "words":
        freeze_all_but_words(architecture)
    trainer = (
        masked_trainer(config, architecture, tokenizer)
        if config.kind == "encoder"
        else translation_trainer(config, architecture, tokenizer)
    )
    return finish_base(config, architecture, tokenizer, trainer)


def finish_base(
    config: BaseConfig,
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerBase,
    trainer: SparseTrainer,
) -> BaseSpec:
    """Trains what was set up and writes the base.

    Raises:
        NotFinite: the loss or a weight is NaN or infinite.
        NotSaved: a full disk, or another fault of it.
    """
    with saving(config.run_folder, config.run_folder):
        config.save(config.run_folder / "config.json")
    curve = fit(trainer)
    if trainer.is_world_process_zero():
        save_base(config, architecture, tokenizer, curve)
    trainer.accelerator.wait_for_everyone()
    return load_spec(config.out)


def freeze_all_but_words(architecture: Architecture) -> None:
    """Leaves the word vectors, which the vocabulary shares, and its bias to learn."""
    architecture.model.requires_grad_(False)
    architecture.vocabulary.requires_grad_(True)
    architecture.model.get_input_embeddings().requires_grad_(True)


def save_base(
    config: BaseConfig,
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerBase,
    curve: list[dict[str, float]],
) -> None:
    """Writes all that a base is.

    Raises:
        NotSaved: a full disk, or another fault of it.
    """
    with saving(config.out, config.run_folder):
        save_halves(architecture, config.out)
        tokenizer.save_pretrained(config.out)
    spec = describe_base(
        config.out, config.name, config.languages, config.licence, config.block_tokens
    )
    config.save(config.out / "training.json")
    write_base_card(config.out, spec, curve, corpus_digest(config.corpus))


def start(config: BaseConfig) -> tuple[Architecture, PreTrainedTokenizerBase]:
    """A fresh model of the asked size, or the base to go on from, with its tokenizer."""
    if config.start_from is not None:
        folder = resolve_base(config.start_from)
        return load_base(folder), AutoTokenizer.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
    shape = SHAPES[config.size]
    if config.kind == "encoder":
        encoder = XLMRobertaForMaskedLM(encoder_config(shape, tokenizer, config.dropout))
        return EncoderArchitecture(encoder), tokenizer
    translator = M2M100ForConditionalGeneration(translator_config(shape, tokenizer, config.dropout))
    return M2M100Architecture(translator), tokenizer


def masked_trainer(
    config: BaseConfig, architecture: Architecture, tokenizer: PreTrainedTokenizerBase
) -> SparseTrainer:
    """Masked language modelling on packed blocks of every language."""
    special = Special.of(tokenizer)
    blocks = {
        canonical(tag): pack(
            token_lists(tokenizer, training_text(config, tag)),
            special,
            config.block_tokens,
        )
        for tag in config.languages
    }
    settings = config.optimisation
    if config.start_from is None and config.informed_start:
        first = max(special.start, special.end, special.pad) + 1
        informed_start(architecture.model, blocks, first, settings.seed)
    total = examples_of(settings)
    mix = (config.sampling_exponent, config.epoch_cap)
    return SparseTrainer(
        architecture.model,
        architecture.vocabulary_head(),
        vocabulary=architecture.vocabulary,
        tail=architecture.tail,
        args=arguments(config.run_folder, settings),
        factors=settings.factors(architecture),
        train_dataset=BlockDataset(blocks, total, mix, settings.seed),
        data_collator=MaskingCollator(
            special, len(tokenizer), config.mask_rate, settings.seed, known_labels(architecture)
        ),
    )


def training_text(config: BaseConfig, tag: str) -> list[str]:
    """What a language gives to an encoder."""
    texts = read_text(config.corpus, canonical(tag), "train")
    limit = config.max_sentences.get(tag, len(texts))
    return random.Random(SEED).sample(texts, limit) if limit < len(texts) else texts


def translation_trainer(
    config: BaseConfig, architecture: Architecture, tokenizer: PreTrainedTokenizerBase
) -> SparseTrainer:
    """Translation between the pivot and every other language, both ways."""
    settings = config.optimisation
    tags = [canonical(tag) for tag in (*config.languages, config.pivot)]
    tokens = {tag: tokenizer.convert_tokens_to_ids(language_token(tag)) for tag in tags}
    reader = PairReader(tokenizer, tokens, config.block_tokens, settings.seed)
    run = (config.corpus, examples_of(settings))
    phases = mixed_phases(reader, config.mixed_in, real_pairs(config, reader), run)
    mix = (config.sampling_exponent, config.epoch_cap)
    return SparseTrainer(
        architecture.model,
        architecture.vocabulary_head(),
        settings.label_smoothing,
        vocabulary=architecture.vocabulary,
        args=arguments(config.run_folder, settings),
        factors=settings.factors(architecture),
        train_dataset=PairDataset(phases, mix, (settings.batch_size, settings.seed)),
        data_collator=PairCollator(tokenizer.pad_token_id, tokenizer.eos_token_id),
    )


def real_pairs(config: BaseConfig, reader: PairReader) -> dict[Direction, list[Pair]]:
    """The corpus' pairs with the pivot, both ways."""
    pivot = canonical(config.pivot)
    pairs: dict[Direction, list[Pair]] = {}
    for tag in map(canonical, config.languages):
        if tag == pivot:
            continue
        rows = read_pairs(config.corpus, tag, pivot, "train")
        rows = sampled(rows, config.max_pairs, config.optimisation.seed)
        pairs[tag, pivot] = reader.encode(rows, (tag, pivot))
        pairs[pivot, tag] = reader.encode([(b, a) for a, b in rows], (pivot, tag))
    return pairs


def save_halves(architecture: Architecture, folder: Path) -> None:
    """Writes config and fp16 weights: half the size, and what every later stage reads."""
    architecture.model.half().save_pretrained(folder)
    architecture.model.float()
