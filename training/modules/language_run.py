"""One language module from text to checkpoint and scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from adaptation.bases import load_spec
from adaptation.methods import METHODS
from adaptation.rows import prompt_length
from adaptation.slotted import SlottedBase
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec, Metric, ModuleRun, write_scores
from training.loop.labels import known_labels
from training.loop.trainer import SparseTrainer, arguments, examples_of, fit
from training.modules.language_data import masked_text, one_direction
from training.modules.language_model import LanguageModel
from training.modules.runs import describe_run, keep_base, own_encoder, save_run
from training.modules.sentence_vectors import VectorLanguageModel, text_and_pairs
from training.modules.settings import ModuleConfig
from training.modules.two_phases import freeze_unread_words
from training.scoring.score import Sample, Scored, ScoredSplit


def train_language(
    config: ModuleConfig,
    slotted: SlottedBase,
    spec: BaseSpec,
    folder: Path,
    tensors: Mapping[str, Tensor],
) -> ModuleRun:
    """Trains a language module, its base, or both; saves and scores them.

    Raises:
        ConfigError: no room for text behind the module's prompt.
        DataError: text that cannot be read.
    """
    check_room(config, spec, prompt_length(tensors))
    method = METHODS[config.method]
    settings = method.Config.model_validate(config.method_config)
    model = (
        LanguageModel(slotted, tensors, learns=config.base_learns)
        if config.vectors is None
        else VectorLanguageModel(slotted, tensors, config.base_learns).of_pairs(config.vectors)
    )
    freeze_unread_words(config, slotted.architecture)
    model.freeze_layers(method.frozen_layers(settings, slotted.architecture) if tensors else {})
    trainer = language_trainer(config, model, folder)
    run = describe_run(config, spec, model, fit(trainer)).model_copy(
        update=_language_fields(config)
    )
    if not trainer.is_world_process_zero():
        return run
    save_run(config, run, slotted, model.tensors())
    if config.train == "both" or (config.train == "base" and config.keep):
        keep_base(config, slotted, spec, folder)
    if not config.score:
        return run
    # A fine-tuned base is dropped after its run, so its test scores are taken here too.
    splits: list[ScoredSplit] = ["dev", "test"] if config.train == "base" else ["dev"]
    scored = Scored(slotted.eval(), spec, folder)
    write_scores(config.out, score_language_run(config, scored, model.tensors(), splits))
    return run


def check_room(config: ModuleConfig, spec: BaseSpec, prompt: int) -> None:
    """Refuses blocks that a base cannot read behind a prompt of so many vectors.

    Raises:
        ConfigError: ``block_tokens`` is too high.
    """
    if prompt and config.block_tokens > spec.max_tokens - prompt:
        raise ConfigError(
            f"{config.name}: block_tokens is {config.block_tokens}, at most "
            f"{spec.max_tokens - prompt} behind a prompt of {prompt}: {spec.name} reads "
            f"{spec.max_tokens} tokens"
        )


def language_trainer(config: ModuleConfig, model: LanguageModel, folder: Path) -> SparseTrainer:
    """Masked text of one language, or pairs of one direction."""
    method = METHODS[config.method]
    own = method.tokenizer(method.Config.model_validate(config.method_config))
    own = own if config.has_module else None
    places = None if own else known_labels(model.slotted.architecture)
    tokenizer = AutoTokenizer.from_pretrained(own or folder)
    settings = config.optimisation
    examples = examples_of(settings)
    data, collator = language_examples(config, tokenizer, load_spec(folder), (examples, places))
    chosen = arguments(config.out / "checkpoints", settings, saves=config.train != "base")
    # safetensors refuses the tied weights of a base that is saved as a part of a model.
    chosen.save_safetensors = not config.base_learns
    return SparseTrainer(
        model,
        model.slotted.architecture.vocabulary_head(),
        settings.label_smoothing,
        vocabulary=None
        if config.has_module and method.own_words
        else model.slotted.architecture.vocabulary,
        args=chosen,
        factors=settings.factors(model.slotted.architecture),
        train_dataset=data,
        data_collator=collator,
    )


def language_examples(
    config: ModuleConfig,
    tokenizer: PreTrainedTokenizerBase,
    spec: BaseSpec,
    wanted: tuple[int, Callable[[Tensor], Tensor] | None],
) -> tuple[Dataset[Any], Callable[[Any], dict[str, Tensor]]]:
    """What a run reads, and how it is put into batches; ``wanted``: how many, and their labels."""
    examples, places = wanted
    if not config.language:
        return one_direction(config, tokenizer, spec, examples)
    if config.vectors is not None:
        return text_and_pairs(config, tokenizer, spec, examples, places)
    return masked_text(config, tokenizer, examples, places)


def _language_fields(config: ModuleConfig) -> dict[str, object]:
    if config.language:
        return {"languages": (canonical(config.language),)}
    source, target = canonical(config.source or ""), canonical(config.target or "")
    return {"languages": (), "source": source, "target": target}


def score_language_run(
    config: ModuleConfig,
    scored: Scored,
    tensors: Mapping[str, Tensor],
    splits: Sequence[ScoredSplit],
) -> list[Metric]:
    """The metrics of a language run, of whichever kind of base."""
    named = (config.language,) if config.language else (config.source, config.target)
    place = tuple(canonical(tag or "") for tag in named)
    detached = {name: tensor.detach() for name, tensor in tensors.items()}
    samples = [
        Sample(corpus=config.text, split=split, sentences=config.sentences) for split in splits
    ]
    encoder = own_encoder(config, scored.spec) if tensors else None
    return [
        metric for sample in samples for metric in scored.place(detached, place, sample, encoder)
    ]
