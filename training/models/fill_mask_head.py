"""``training fill_mask_head``: a head for masked words over several layers of a frozen encoder.

The encoder's vectors stay as they are. The head learns by masked language modelling on packed text
of many languages, and knows the pieces that occur in it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, set_seed

from adaptation.architectures import EncoderArchitecture, load_base
from adaptation.architectures.vocabulary_head import (
    limit_vocabulary,
    mix_layers,
    own_parameters,
    write_head,
)
from adaptation.bases import SPEC_FILE, load_spec
from langmod.config import RunConfig, write_atomic
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec
from training.data.corpus import read_text
from training.data.packing import (
    BlockDataset,
    MaskingCollator,
    Special,
    pack,
    token_lists,
)
from training.loop.checkpoints import saving
from training.loop.labels import known_labels
from training.loop.trainer import Optimisation, SparseTrainer, arguments, examples_of, fit

GAIN = 0.15
"""Gain of the head's norm at the start: its output then has about the length of word vectors."""


class FillMaskHeadConfig(RunConfig):
    """One run of ``training fill_mask_head``."""

    name: str
    base: Path
    """A described base, whose head is written beside it."""
    corpus: Path
    languages: tuple[str, ...]
    max_sentences: int | None = None
    """Of each language, the first ones, for training; pieces are counted in all of them."""
    layers: tuple[int, ...] = Field(min_length=1)
    """What the head reads, counted from 1, the last layer last."""
    seen: int = 3
    """Pieces that some language has at least so often are known."""
    block_tokens: int = 128
    mask_rate: float = 0.15
    sampling_exponent: float = 0.5
    epoch_cap: float = 5.0
    out: Path
    """Checkpoints and the curve."""
    optimisation: Optimisation


class HeadModel(nn.Module):
    """An encoder under a head: only what the head has of its own learns, is saved and counted."""

    def __init__(self, architecture: EncoderArchitecture) -> None:
        super().__init__()
        object.__setattr__(self, "architecture", architecture)
        architecture.model.requires_grad_(False).eval()
        own = own_parameters(architecture)
        self.own = nn.ParameterDict(
            {name.replace(".", "/"): each.requires_grad_(True) for name, each in own.items()}
        )

    architecture: EncoderArchitecture

    def forward(self, **features: Tensor) -> Any:
        """Hugging Face's output."""
        return self.architecture.model(**features)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves the encoder along to another device."""
        self.architecture.model._apply(fn, recurse)
        return super()._apply(fn, recurse)


def train_fill_mask_head(config: FillMaskHeadConfig) -> BaseSpec:
    """Trains the head, writes it beside the base, and says in ``base.json`` which layers it reads.

    Raises:
        ConfigError: no encoder, layers it has not, or a base that is not described.
        DataError: a corpus without the languages asked for.
        NotFinite: the loss or a weight is NaN or infinite.
        NotSaved: a full disk, or another fault of it.
    """
    set_seed(config.optimisation.seed)
    spec, architecture = load_spec(config.base), opened(config)
    tokenizer = AutoTokenizer.from_pretrained(config.base)
    blocks = packed_languages(config, tokenizer)
    if architecture.pieces is None:
        limit_vocabulary(architecture, known_pieces(blocks, config.seen, tokenizer))
    with saving(config.out, config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        config.save(config.out / "config.json")
    trainer = head_trainer(config, architecture, blocks, tokenizer)
    fit(trainer)
    if trainer.is_world_process_zero():
        write_head(architecture, config.base)
        spec = spec.model_copy(update={"mixed_layers": config.layers})
        write_atomic(config.base / SPEC_FILE, spec.model_dump_json(indent=2) + "\n")
    return spec


def opened(config: FillMaskHeadConfig) -> EncoderArchitecture:
    """The encoder with the head that lies beside it, or one as at the start.

    Raises:
        ConfigError: no encoder, or layers that it or its head has not.
    """
    architecture = load_base(config.base)
    if not isinstance(architecture, EncoderArchitecture):
        raise ConfigError(f"{config.name}: {config.base} is a {architecture.kind}")
    depth = architecture.towers()[0].depth
    if config.layers != tuple(sorted(set(config.layers))) or config.layers[-1] != depth:
        raise ConfigError(f"{config.name}: layers must rise to {depth}, the last")
    if architecture.mix is not None and architecture.mix.layers != config.layers:
        raise ConfigError(
            f"{config.name}: the head beside {config.base} reads layers {architecture.mix.layers}; "
            "remove it to train another"
        )
    if architecture.mix is None:
        mix_layers(architecture, config.layers)
        for module in architecture.vocabulary_head().modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.data.fill_(GAIN)
    return architecture


def packed_languages(
    config: FillMaskHeadConfig, tokenizer: PreTrainedTokenizerBase
) -> dict[str, NDArray[np.int32]]:
    """Blocks of each language's training text."""
    special = Special.of(tokenizer)
    return {
        tag: pack(
            token_lists(tokenizer, read_text(config.corpus, tag, "train")[: config.max_sentences]),
            special,
            config.block_tokens,
        )
        for tag in map(canonical, config.languages)
    }


def known_pieces(
    blocks: Mapping[str, NDArray[np.int32]], seen: int, tokenizer: PreTrainedTokenizerBase
) -> Tensor:
    """Ids ``[V']`` in order: what some language has often enough, and the special ones."""
    counts = [np.bincount(each.reshape(-1), minlength=len(tokenizer)) for each in blocks.values()]
    often = np.max(counts, axis=0) >= seen  # [V]
    often[tokenizer.all_special_ids] = True
    return torch.from_numpy(np.flatnonzero(often))


def head_trainer(
    config: FillMaskHeadConfig,
    architecture: EncoderArchitecture,
    blocks: Mapping[str, NDArray[np.int32]],
    tokenizer: PreTrainedTokenizerBase,
) -> SparseTrainer:
    """Masked language modelling of all languages, the loss over known pieces."""
    settings = config.optimisation
    mix = (config.sampling_exponent, config.epoch_cap)
    masking = (config.mask_rate, settings.seed, known_labels(architecture))
    return SparseTrainer(
        HeadModel(architecture),
        architecture.vocabulary_head(),
        vocabulary=architecture.vocabulary,
        args=arguments(config.out / "checkpoints", settings),
        train_dataset=BlockDataset(blocks, examples_of(settings), mix, settings.seed),
        data_collator=MaskingCollator(Special.of(tokenizer), len(tokenizer), *masking),
    )
