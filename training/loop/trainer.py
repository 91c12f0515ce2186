"""Hugging Face's Trainer with one change: the vocabulary only where there is a label, in parts.

Resume, TensorBoard logs, gradient accumulation and DDP are the Trainer's own.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainingArguments

from adaptation.architectures import Architecture
from langmod.config import Frozen
from training.data.packing import IGNORED
from training.loop.checkpoints import CheckedTrainer, finite, last_whole_checkpoint, saving
from training.loop.learning_rates import Factors, layer_factors
from training.loop.processor import keep_memory, plain_attention
from training.loop.vocabulary_loss import LossInHead


class Optimisation(Frozen):
    """How a run optimises; the same fields for bases, modules and baselines."""

    steps: int
    batch_size: int
    gradient_accumulation: int = 1
    learning_rate: float
    warmup: float = 0.05
    """Part of the steps over which the rate rises."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Discriminative rates: a group of a base's layers learns at this part of the rate of the group
    above it, its embeddings as one group more; 1: all alike."""
    layer_groups: int = Field(default=4, ge=1)
    """Groups that a tower's layers fall into for that."""
    weight_decay: float = 0.0
    clip: float = 1.0
    label_smoothing: float = 0.0
    bf16: bool = True
    """bf16 autocast where the machine has it in hardware; elsewhere the run is fp32."""
    save_every: int = 500
    """Steps between checkpoints; 0: none are kept, and a killed run begins anew."""
    log_every: int = 50
    workers: int = 0
    seed: int = 1

    def factors(self, architecture: Architecture) -> Factors:
        """Factors of the rates at which a base's own parameters learn."""
        return layer_factors(architecture, self.layer_decay, self.layer_groups)


def multiplies_bf16() -> bool:
    """Whether this machine multiplies bf16 in hardware.

    Emulation on a CPU is some 70 times slower than fp32 (1.1 against 79 GFLOP/s on AVX2).
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def arguments(folder: Path, settings: Optimisation, saves: bool = True) -> TrainingArguments:
    """The Trainer's settings; checkpoints (if it saves) and TensorBoard events go to ``folder``."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=int(settings.warmup * settings.steps),
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        adam_beta2=0.98,
        adam_epsilon=1e-6,
        bf16=settings.bf16 and multiplies_bf16(),
        use_cpu=not torch.cuda.is_available(),
        save_strategy="steps" if saves and settings.save_every else "no",
        save_steps=max(1, settings.save_every),
        save_total_limit=1,
        logging_steps=settings.log_every,
        logging_dir=str(folder / "tensorboard"),
        logging_nan_inf_filter=False,
        report_to=["tensorboard"],
        dataloader_num_workers=settings.workers,
        seed=settings.seed,
        remove_unused_columns=False,
        disable_tqdm=True,
        label_names=["labels"],
    )


class SparseHead:
    """Keeps only labelled positions before the vocabulary head: most of its work is saved.

    The hooks sit on the parts, so the model's own forward (and DDP around it) stays as it is.
    """

    def __init__(self, head: nn.Module, tail: nn.Module | None = None) -> None:
        """Drops positions from ``tail`` on, an earlier part that takes positions alone."""
        self.chosen: Tensor | None = None
        (head if tail is None else tail).register_forward_pre_hook(self._select)

    def _select(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.chosen is None:
            return None
        return tuple(each[self.chosen] for each in inputs)  # [N, D] each


class SparseTrainer(CheckedTrainer):
    """Cross entropy over labelled positions, for masked models and translators alike."""

    def __init__(
        self,
        model: nn.Module,
        head: nn.Module,
        smoothing: float = 0.0,
        vocabulary: nn.Module | None = None,
        tail: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """``head`` is the part of ``model`` that makes vocabulary logits.

        ``vocabulary``: its last linear, where nothing changes the logits; the loss is then made
        inside of it. ``tail``: see ``SparseHead``.
        """
        super().__init__(model=model, **kwargs)
        self.smoothing = smoothing
        self.sparse = SparseHead(head, tail)
        self.inside = None if vocabulary is None else LossInHead(vocabulary, smoothing)
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Dataset[object] | None = None) -> Sampler[int]:
        """The datasets come in their final seeded order, repetitions included."""
        data: Any = train_dataset or self.train_dataset
        return SequentialSampler(data)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Mean loss in nats per labelled token.

        Raises:
            NotFinite: the loss is NaN or infinite.
        """
        del return_outputs, num_items_in_batch
        labels = inputs["labels"]  # [B, T]
        features = {name: value for name, value in inputs.items() if name != "labels"}
        chosen = labels != IGNORED  # [B, T]
        with self._only(chosen, labels[chosen]), plain_attention():
            logits = model(**features).logits  # [N, V], or the loss itself
        if self.inside is not None:
            return finite(logits, self)
        smoothing = self.smoothing if model.training else 0.0
        loss = functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=smoothing)
        return finite(loss, self)

    @contextmanager
    def _only(self, chosen: Tensor, labels: Tensor) -> Iterator[None]:
        """Scores only chosen positions ``[B, T]``, with labels ``[N]``."""
        self.sparse.chosen = chosen
        if self.inside is not None:
            self.inside.labels = labels
        try:
            yield
        finally:
            self.sparse.chosen = None
            if self.inside is not None:
                self.inside.labels = None


def examples_of(settings: Optimisation) -> int:
    """How many examples a run reads, those of all its processes together."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return settings.steps * settings.batch_size * settings.gradient_accumulation * processes


def fit(trainer: Trainer) -> list[dict[str, float]]:
    """Trains, going on from the last checkpoint of the run's folder; returns the logged curve.

    The model comes back without the Trainer's bf16 wrapper: what follows is scored in fp32.

    Raises:
        NotFinite: the loss or a weight is NaN or infinite.
        NotSaved: a full disk, or another fault of it.
    """
    keep_memory()
    folder = Path(trainer.args.output_dir)
    last = last_whole_checkpoint(folder)
    # Curves are written all the while: they are the first to notice a full disk.
    with saving(folder, folder, (OSError,)):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return [dict(entry) for entry in trainer.state.log_history]
