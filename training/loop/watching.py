"""What a long run tells of itself while it trains, and when it saves."""

import time
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Counting(Protocol):
    """A Trainer that counts what it reads."""

    labelled: int
    """Target tokens since the run was started."""


class SaveByTime(TrainerCallback):
    """Saves a checkpoint every so many minutes, however long a step takes."""

    def __init__(self, minutes: float) -> None:
        self.seconds = minutes * 60
        self.saved = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Asks the Trainer to save once the time has come."""
        if time.monotonic() - self.saved >= self.seconds:
            control.should_save = True
            self.saved = time.monotonic()


class TokenRate(TrainerCallback):
    """Adds target tokens read, their rate, hours spent and hours left to each logged line.

    Tokens and hours go on from those of the checkpoint that a run resumed from.
    """

    def __init__(self, trainer: Counting) -> None:
        self.trainer = trainer
        self.tokens_before = self.hours_before = 0.0
        self.first_step = 0
        self.began = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Reads where an earlier start of the run got to."""
        last: dict[str, float] = next(
            (entry for entry in reversed(state.log_history) if "tokens" in entry), {}
        )
        self.tokens_before = last.get("tokens", 0.0)
        self.hours_before = last.get("hours", 0.0)
        self.first_step, self.began = state.global_step, time.monotonic()
        self.trainer.labelled = 0

    @property
    def tokens(self) -> float:
        """Target tokens that the run has read, in all its starts."""
        return self.tokens_before + self.trainer.labelled

    @property
    def hours(self) -> float:
        """Hours that the run has taken, in all its starts."""
        return self.hours_before + (time.monotonic() - self.began) / 3600

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Writes one line, and the figures into the run's history."""
        if logs is None or "loss" not in logs:
            return
        spent = time.monotonic() - self.began
        steps = state.global_step - self.first_step
        figures = {
            "tokens": self.tokens,
            "hours": round(self.hours, 3),
            "tokens_per_second": round(self.trainer.labelled / spent, 1),
            "hours_left": round((state.max_steps - state.global_step) * spent / steps / 3600, 2),
        }
        logs.update(figures)
        state.log_history[-1].update(figures)
