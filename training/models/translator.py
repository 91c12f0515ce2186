"""``training translator``: a translator of two halves goes on learning, one stage a yaml.

A stage says what learns (cross attention; the decoder and new pieces; upper layers of the encoder)
and what it reads. It resumes from its last checkpoint, keeps its dev curve, and writes a translator
folder when its steps are done.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import EncoderDecoderModel, PrinterCallback, set_seed

from langmod.config import Frozen, RunConfig
from training.data.pair_batches import PairBatches, Special, most_frequent
from training.data.translation_data import SideEncoders, TranslationData, drawn_pairs
from training.loop.checkpoints import CheckedTrainer, finite, saving
from training.loop.processor import plain_attention
from training.loop.trainer import Optimisation, arguments, examples_of, fit, multiplies_bf16
from training.loop.translator_loss import LearningTranslator
from training.loop.watching import SaveByTime, TokenRate
from training.models.halves import load_halves, load_learned, target_tokens
from training.scoring.dev_curve import DevCurve, DevSettings

LEARNED_FILE = "learned.safetensors"
"""The file in the run's folder with what learned, in fp16, by name; a later stage can start from
it."""


class PoolSizes(Frozen):
    """How batches are cut: pools of pairs, sorted by length, in equally many batches each."""

    pairs: int = 3000
    batches: int = Field(default=30, ge=1)


class TranslatorConfig(RunConfig):
    """One run of ``training translator``."""

    name: str
    base: Path
    """A translator of two halves to go on from."""
    start_from: Path | None = None
    """Weights by name that are loaded over the base's: ``learned.safetensors`` of another run."""
    learns: Mapping[str, float]
    """Regular expression over names of parameters → factor of their learning rate."""
    data: TranslationData
    pools: PoolSizes = PoolSizes()
    frequent: int = 10_000
    """Pieces of each target language that are in its batches' softmax, beside those of the batch's
    own targets."""
    kept_words: int = 0
    """Where words learn: so many of the first rows stay as they are."""
    dev: DevSettings
    run_folder: Path
    """Checkpoints, curves and TensorBoard events; a killed run goes on from here."""
    save_minutes: float = 10.0
    tokens: Path = Path("runs/tokens")
    """Where tokenised pairs are kept between starts."""
    optimisation: Optimisation
    """``batch_size`` is 1, as a batch comes whole; a step is so many batches as are accumulated."""


class TranslatorTrainer(CheckedTrainer):
    """The Trainer over whole batches; counts the target tokens it has read."""

    def __init__(self, learning: LearningTranslator, **kwargs: object) -> None:
        super().__init__(model=learning, factors=learning.rates, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.labelled = 0

    def _get_train_sampler(self, train_dataset: Dataset[object] | None = None) -> Sampler[int]:
        data: Any = train_dataset or self.train_dataset
        return SequentialSampler(data)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Mean loss in nats per target token.

        Raises:
            NotFinite: the loss is NaN or infinite.
        """
        del return_outputs, num_items_in_batch
        self.labelled += int((inputs["labels"] >= 0).sum())
        with plain_attention():
            return finite(model(**inputs), self)


def train_translator(config: TranslatorConfig) -> Path:
    """Trains one stage; writes what learned, and the curves, to the run's folder.

    Raises:
        ConfigError: fields that do not go together, or a base that is no translator of two halves.
        DataError: a corpus without the languages asked for.
        NotFinite: the loss or a weight is NaN or infinite.
        NotSaved: a full disk, or another fault of it.
    """
    set_seed(config.optimisation.seed)
    translator, source, target = load_halves(config.base)
    if config.start_from is not None:
        load_learned(translator, config.start_from)
    tokens = target_tokens(target, written_tags(config))
    batches, frequent = batches_of(config, translator, SideEncoders(source, target, tokens))
    settings = (config.optimisation.label_smoothing, config.kept_words)
    learning = LearningTranslator(translator, config.learns, frequent, settings)
    if config.optimisation.bf16 and multiplies_bf16():
        learning.halve_frozen()
    config.run_folder.mkdir(parents=True, exist_ok=True)
    with saving(config.run_folder, config.run_folder):
        config.save(config.run_folder / "config.json")
    trainer = trainer_of(config, learning, batches)
    rate = TokenRate(trainer)
    curve = DevCurve(config.dev, config.run_folder, (translator, source, target), tokens, rate)
    trainer.remove_callback(PrinterCallback)  # it prints before figures are added; the last one
    for callback in (rate, SaveByTime(config.save_minutes), curve, PrinterCallback):
        trainer.add_callback(callback)
    fit(trainer)
    curve.measure(trainer.state)
    return save_learned(learning, config.run_folder)


def written_tags(config: TranslatorConfig) -> list[str]:
    """Tags of all languages that the decoder learns to write."""
    data = config.data
    out = list(data.languages) if data.into_pivot < 1 else []
    denoised = data.denoising.languages if data.denoising else ()
    return [data.pivot, *out, *denoised]


def batches_of(
    config: TranslatorConfig, translator: EncoderDecoderModel, encoders: SideEncoders
) -> tuple[PairBatches, dict[int, NDArray[np.int64]]]:
    """All batches of a run, and the pieces that are always in the softmax of each language."""
    drawn = drawn_pairs(config.data, encoders, config.tokens)
    special = Special(
        source_pad=encoders.source.token_to_id("<pad>"),
        source_mask=encoders.source.token_to_id("<mask>"),
        start=translator.config.decoder_start_token_id,
        end=translator.config.eos_token_id,
    )
    sizes = (examples_of(config.optimisation), config.pools.pairs, config.pools.batches)
    frequent = most_frequent(drawn, config.frequent, translator.decoder.config.vocab_size)
    batches = PairBatches(drawn, special, sizes, config.optimisation.seed)
    with_end = {each: np.union1d(pieces, [special.end]) for each, pieces in frequent.items()}
    return batches, with_end


def trainer_of(
    config: TranslatorConfig, learning: LearningTranslator, batches: PairBatches
) -> TranslatorTrainer:
    """The Trainer of a stage; one example is a whole batch."""
    chosen = arguments(config.run_folder, config.optimisation, saves=False)
    chosen.save_safetensors = False
    return TranslatorTrainer(
        learning, args=chosen, train_dataset=batches, data_collator=lambda rows: rows[0]
    )


def save_learned(learning: LearningTranslator, folder: Path) -> Path:
    """Writes what learned in fp16, by its name in the translator."""
    path = folder / LEARNED_FILE
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in learning.learned().items()
    }
    with saving(path, folder):
        save_file(tensors, path)
    return path
