"""``training module``: a language or task module for a frozen base, saved in its library's format.

With ``train: base`` the same run is the full fine-tuning baseline, with ``train: head`` the bare
base under a fresh head.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, JsonValue, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, set_seed

from adaptation.architectures import load_base
from adaptation.bases import describe_base, load_spec, resolve_base
from adaptation.methods import METHODS
from adaptation.rows import prompt_length
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.config import Frozen, RunConfig, describe, write_atomic
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec, Role
from training.data.corpus import corpus_digest
from training.data.pair_mix import PairMix
from training.data.task_data import TaskSettings
from training.loop.trainer import Optimisation, SparseTrainer, arguments, examples_of, fit
from training.models.base import save_halves
from training.modules.over_base import OverBase

RUN_FILE = "run.json"
HEAD_FILE = "head.safetensors"


class ModuleConfig(RunConfig):
    """One run of ``training module``."""

    name: str
    base: str
    """A folder or hub id that ``base.json`` describes."""
    role: Role
    method: str = "bottleneck"
    method_config: dict[str, JsonValue] = Field(default_factory=dict)
    train: Literal["module", "head", "base", "both"] = "module"
    """What learns: the module; a task's head alone; the whole base, or a language module and the
    base under it (neither is ever published)."""
    start_from: Path | None = None
    """A finished run of the same method on a base of this shape, from whose module this one goes
    on; None: a fresh one."""
    keep: bool = False
    """A fine-tuned base is kept in ``out/base``; otherwise only its scores are. That under a module
    always is."""
    sentences: int = Field(default=100, ge=1)
    """Of a language's held-out text, or of a direction's pairs of each origin, that are scored at
    the end."""
    language: str | None = None
    """Language module of an encoder: the language."""
    source: str | None = None
    target: str | None = None
    """Language module of a translator: its direction."""
    corpus: Path | None = None
    """Language modules: where their text is."""
    task: TaskSettings | None = None
    language_modules: str | None = None
    """Task modules: what to stack on, a path with ``{language}`` to runs or published modules;
    None for the bare base."""
    block_tokens: int = 128
    mask_rate: float = 0.15
    max_pairs: int | None = None
    """Language module of a translator: at most so many training pairs, drawn by seed."""
    mixed_in: PairMix = PairMix()
    """Language module of a translator: synthetic pairs and denoising beside the real pairs."""
    out: Path
    score: bool = True
    """Score it on the dev split once it is trained."""
    licence: str = "CC-BY-SA-4.0"
    optimisation: Optimisation

    @property
    def text(self) -> Path:
        """The corpus of a language module.

        Raises:
            ConfigError: none is given.
        """
        if self.corpus is None:
            raise ConfigError(f"{self.name}: a language module needs `corpus`")
        return self.corpus

    def checked(self) -> "ModuleConfig":
        """Itself.

        Raises:
            ConfigError: fields that do not go together; all are listed.
        """
        faults = []
        if self.method not in METHODS:
            faults.append(f"method is {self.method!r}; allowed: {', '.join(METHODS)}")
        else:
            faults += self._settings_faults()
        if self.role == "task" and self.task is None:
            faults.append("a task module needs `task`")
        if self.role == "language" and self.corpus is None:
            faults.append("a language module needs `corpus`")
        if self.role == "language" and not (self.language or (self.source and self.target)):
            faults.append("a language module needs `language`, or `source` and `target`")
        if self.role == "task" and (self.train == "both" or self.start_from is not None):
            faults.append("`train: both` and `start_from` are for language modules")
        if not self.source and (self.mixed_in != PairMix() or self.max_pairs):
            faults.append("`mixed_in` and `max_pairs` are for directions of a translator")
        if faults:
            raise ConfigError(f"{self.name}: {'; '.join(faults)}")
        return self

    @property
    def has_module(self) -> bool:
        """Whether a module learns."""
        return self.train in ("module", "both")

    @property
    def base_learns(self) -> bool:
        """Whether the base does."""
        return self.train in ("base", "both")

    def _settings_faults(self) -> list[str]:
        try:
            METHODS[self.method].Config.model_validate(self.method_config)
        except ValidationError as error:
            return [f"method_config: {describe(error)}"]
        return []


class ModuleRun(Frozen):
    """``run.json``: what a checkpoint is, for whoever exports or scores it."""

    name: str
    role: Role
    method: str
    train: Literal["module", "head", "base", "both"]
    base: str
    base_digest: str
    languages: tuple[str, ...]
    source: str | None = None
    target: str | None = None
    task: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    pooling: Literal["first", "mean"] = "first"
    data: str
    licence: str
    steps: int
    trained_parameters: int
    final_loss: float


class LanguageModel(OverBase):
    """A base whose language module learns; the forward is Hugging Face's own."""

    def forward(self, **features: Tensor) -> object:
        """The Hugging Face output, logits through the language module."""
        named = {f"language.{name}": tensor for name, tensor in self.tensors().items()}
        with self.slotted.using(FixedSource(named)):
            return self.slotted.model(**features)


def train_module(config: ModuleConfig) -> ModuleRun:
    """Trains one module and writes its checkpoint, head and ``run.json`` to ``out``.

    Raises:
        ConfigError: fields that do not go together, or a base that is not described.
        DataError: text or labels that cannot be read.
    """
    from training.evaluation.score import Scored, ScoredSplit, score_language_run, write_scores
    from training.modules.task_run import train_task
    from training.modules.two_phases import first_tensors, freeze_unread_words

    set_seed(config.checked().optimisation.seed)
    folder = resolve_base(config.base)
    spec = load_spec(folder)
    slotted = SlottedBase(load_base(folder))
    generator = torch.Generator().manual_seed(config.optimisation.seed)
    method = METHODS[config.method]
    reason = method.unfit(spec.kind, config.role)
    if reason is not None and config.has_module:
        raise ConfigError(f"{config.name}: {reason}")
    settings = method.Config.model_validate(config.method_config)
    tensors = first_tensors(config, slotted, generator) if config.has_module else {}
    if config.task is not None:
        return train_task(config, slotted, spec, tensors)
    check_room(config, spec, prompt_length(tensors))
    model = LanguageModel(slotted, tensors, learns=config.base_learns)
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
    from training.modules.language_data import masked_text, one_direction

    method = METHODS[config.method]
    own = method.tokenizer(method.Config.model_validate(config.method_config))
    own = own if config.has_module else None
    tokenizer = AutoTokenizer.from_pretrained(own or folder)
    settings = config.optimisation
    examples = examples_of(settings)
    data, collator = (
        masked_text(config, tokenizer, examples)
        if config.language
        else one_direction(config, tokenizer, load_spec(folder), examples)
    )
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


def _language_fields(config: ModuleConfig) -> dict[str, object]:
    if config.language:
        return {"languages": (canonical(config.language),)}
    source, target = canonical(config.source or ""), canonical(config.target or "")
    return {"languages": (), "source": source, "target": target}


def describe_run(
    config: ModuleConfig,
    spec: BaseSpec,
    model: nn.Module,
    curve: list[dict[str, float]],
) -> ModuleRun:
    """What ``run.json`` says of every run alike."""
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    losses = [entry["loss"] for entry in curve if "loss" in entry]
    return ModuleRun(
        name=config.name,
        role=config.role,
        method=config.method,
        train=config.train,
        base=spec.name,
        base_digest=spec.digest,
        languages=(),
        data=corpus_digest(config.corpus) if config.corpus else "see docs/corpus.md",
        licence=config.licence,
        steps=config.optimisation.steps,
        trained_parameters=learning,
        final_loss=losses[-1] if losses else float("nan"),
    )


def save_run(
    config: ModuleConfig, run: ModuleRun, slotted: SlottedBase, tensors: Mapping[str, Tensor]
) -> None:
    """Writes the method's checkpoint, the head's tensors and ``run.json``."""
    config.out.mkdir(parents=True, exist_ok=True)
    config.save(config.out / "training.json")
    plain = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in plain.items() if name.startswith(f"{config.method}.")}
    head = {name: tensor for name, tensor in plain.items() if name not in own}
    if own:
        method = METHODS[config.method]
        settings = method.Config.model_validate(config.method_config)
        method.write(config.out / config.name, settings, own, slotted.architecture)
    if head:
        save_file(head, config.out / HEAD_FILE)
    write_atomic(config.out / RUN_FILE, json.dumps(run.model_dump(), indent=2) + "\n")


def keep_base(config: ModuleConfig, slotted: SlottedBase, spec: BaseSpec, folder: Path) -> None:
    """Writes a fine-tuned base as a base of its own, beside its run."""
    kept = config.out / "base"
    save_halves(slotted.architecture, kept)
    AutoTokenizer.from_pretrained(folder).save_pretrained(kept)
    describe_base(kept, config.name, spec.languages, config.licence, spec.max_tokens)


def load_run(folder: Path) -> ModuleRun:
    """Reads ``run.json``.

    Raises:
        ConfigError: no finished run there.
    """
    path = folder / RUN_FILE
    try:
        return ModuleRun.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} holds no finished run of `training module`") from error
