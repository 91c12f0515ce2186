"""Checkpoints that can be trusted: whole, finite, and never at the cost of the one before.

The Trainer writes ``trainer_state.json`` last and removes older checkpoints only after that, so a
run that is killed, runs out of disk or out of numbers leaves its last good checkpoint behind.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from langmod.errors import LangmodError
from training.loop.learning_rates import Factors, apply_factors

WRITERS = (OSError, RuntimeError, SafetensorError)
"""What writers of weights fail with; torch's own with a RuntimeError of several lines."""


class NotFinite(LangmodError):
    """A loss or weight became NaN or infinite; the last checkpoint is intact."""

    code = "loss_not_finite"


class NotSaved(LangmodError):
    """Something could not be written; the last checkpoint is intact."""

    code = "not_saved"


class CheckedTrainer(Trainer):
    """Saves only what is worth going on from; parameters may learn at rates of their own."""

    def __init__(self, factors: Factors | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factors = factors or {}

    def create_optimizer(self) -> Optimizer:
        """The Trainer's own, its groups split by rate."""
        optimizer = super().create_optimizer()
        if self.factors:
            apply_factors(optimizer, self.factors)
        return optimizer

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """As the Trainer does it.

        Raises:
            NotFinite: a weight is NaN or infinite; nothing is written.
            NotSaved: a full disk, or another fault of it; the cut checkpoint is removed.
        """
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight).all():
                raise NotFinite(f"{name} is no longer finite {_whereabouts(self)}")
        folder = Path(self.args.output_dir)
        cut = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        try:
            with saving(cut, folder):
                super()._save_checkpoint(model, trial)
        except NotSaved:
            shutil.rmtree(cut, ignore_errors=True)
            raise


def finite(loss: Tensor, trainer: Trainer) -> Tensor:
    """The loss itself.

    Raises:
        NotFinite: the loss is NaN or infinite.
    """
    if not torch.isfinite(loss):
        raise NotFinite(f"loss is {loss.item()} {_whereabouts(trainer)}")
    return loss


def _whereabouts(trainer: Trainer) -> str:
    return (
        f"at step {trainer.state.global_step}; lower learning_rate; "
        f"the last good checkpoint lies in {trainer.args.output_dir}"
    )


@contextmanager
def saving(
    what: Path, checkpoints: Path, faults: tuple[type[Exception], ...] = WRITERS
) -> Iterator[None]:
    """Says clearly what a full disk kept from being written, and where the checkpoints are.

    Raises:
        NotSaved: a full disk, or another fault of it.
    """
    try:
        yield
    except faults as error:
        reason = str(error).partition("\n")[0]
        raise NotSaved(
            f"could not write {what}: {reason}; make room and run the command again: "
            f"it goes on from the last good checkpoint in {checkpoints}"
        ) from error


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; a kill or full disk may cut the last."""
    states = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/trainer_state.json")
    whole = [state.parent for state in states if _reads(state)]
    return max(whole, key=lambda each: int(each.name.rsplit("-", 1)[1]), default=None)


def _reads(state: Path) -> bool:
    try:
        return isinstance(json.loads(state.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
