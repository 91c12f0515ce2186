"""Tokens a second of training: our loop beside those of Hugging Face's run_mlm example.

Each loop has a process of its own, so that what one does to its memory helps no other.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaForMaskedLM,
    set_seed,
)

from adaptation.architectures import EncoderArchitecture
from benchmarks.experiment import Loop, TrainingArm, TrainingSpeed
from benchmarks.result import Circumstances
from benchmarks.side_by_side import TRAINING_LIBRARIES, TrainingPoint, TrainingResult, TrainingRun
from langmod.languages import canonical
from langmod.machine import Machine, commit, versions
from training.data.corpus import read_text
from training.data.packing import BlockDataset, MaskingCollator, Special, pack, token_lists
from training.loop.processor import keep_memory
from training.loop.trainer import Optimisation, SparseTrainer, arguments, multiplies_bf16
from training.models.sizes import SHAPES, encoder_config

Batch = dict[str, torch.Tensor]
Row = dict[str, list[int]]


def measure_training(asked: TrainingSpeed) -> TrainingResult:
    """Every loop in turn, as many times as the experiment says.

    Raises:
        DataError: a corpus without the languages asked for.
    """
    circumstances = Circumstances(
        machine=Machine.here(), versions=versions(TRAINING_LIBRARIES), commit=commit(), bases=()
    )
    runs: dict[TrainingArm, list[TrainingRun]] = {arm: [] for arm in asked.arms}
    with ExitStack() as stack:
        processes = {arm: stack.enter_context(_process()) for arm in asked.arms}
        # All at once: to import what they need takes longer than to train.
        wait([processes[arm].submit(prepare, asked) for arm in asked.arms])
        for repetition in range(asked.repetitions):
            turn = repetition % len(asked.arms)
            for arm in [*asked.arms[turn:], *asked.arms[:turn]]:
                runs[arm].append(processes[arm].submit(repeat, asked, arm).result())
    points = tuple(TrainingPoint(arm=arm, runs=tuple(found)) for arm, found in runs.items())
    return TrainingResult(experiment=asked, circumstances=circumstances, points=points)


@contextmanager
def _process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Notes the time."""
        self.ends.append(time.perf_counter())


class Counting:
    """Counts what a collator gives."""

    def __init__(self, collate: Callable[[Sequence[Any]], Batch]) -> None:
        self.collate = collate
        self.text: list[int] = []
        self.positions: list[int] = []

    def __call__(self, rows: Sequence[Any]) -> Batch:
        """A batch as it is."""
        batch = self.collate(rows)
        self.text.append(int(batch["attention_mask"].sum()))
        self.positions.append(batch["attention_mask"].numel())
        return batch


def prepare(asked: TrainingSpeed) -> None:
    """Imports this module and reads the texts, in a process that is fresh."""
    texts(asked)


def repeat(asked: TrainingSpeed, arm: TrainingArm) -> TrainingRun:
    """A fresh model through some steps of a loop."""
    torch.set_num_threads(asked.threads)
    set_seed(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TRAINERS[arm.loop](asked, arm, Path(folder))
        clock, counting = Clock(), Counting(trainer.data_collator)
        trainer.data_collator = counting
        trainer.add_callback(clock)
        trainer.train()
    seconds = clock.ends[-1] - clock.ends[asked.warm_up - 1]
    measured = slice(asked.warm_up, asked.warm_up + asked.steps)
    text, positions = sum(counting.text[measured]), sum(counting.positions[measured])
    return TrainingRun(
        tokens_per_second=round(text / seconds, 1),
        seconds_per_step=round(seconds / asked.steps, 4),
        text=round(text / positions, 4),
    )


@lru_cache(maxsize=1)
def texts(asked: TrainingSpeed) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """The tokenizer, and sentences of all languages in one random order."""
    tokenizer = AutoTokenizer.from_pretrained(asked.tokenizer)
    found: list[str] = []
    for tag in map(canonical, asked.languages):
        found += read_text(asked.corpus, tag, "train")[: asked.sentences]
    random.Random(asked.seed).shuffle(found)
    return tokenizer, tuple(found)


def model_of(asked: TrainingSpeed, tokenizer: PreTrainedTokenizerBase) -> EncoderArchitecture:
    """The same weights for every loop."""
    torch.manual_seed(asked.seed)
    return EncoderArchitecture(
        XLMRobertaForMaskedLM(encoder_config(SHAPES[asked.size], tokenizer, 0.0))
    )


def our_trainer(asked: TrainingSpeed, arm: TrainingArm, folder: Path) -> Trainer:
    """What `training base` runs."""
    keep_memory()
    tokenizer, sentences = texts(asked)
    architecture, special = model_of(asked, tokenizer), Special.of(tokenizer)
    blocks = pack(token_lists(tokenizer, sentences), special, asked.block_tokens)
    steps = asked.warm_up + asked.steps
    settings = Optimisation(
        steps=steps, batch_size=asked.batch_size, learning_rate=5e-5, bf16=arm.bf16, seed=asked.seed
    )
    total = steps * asked.batch_size
    return SparseTrainer(
        architecture.model,
        architecture.vocabulary_head(),
        vocabulary=architecture.vocabulary,
        tail=architecture.tail,
        args=arguments(folder, settings, saves=False),
        train_dataset=BlockDataset({"all": blocks}, total, (1.0, float("inf")), asked.seed),
        data_collator=MaskingCollator(special, len(tokenizer), asked.mask_rate, asked.seed),
    )


def stock_trainer(asked: TrainingSpeed, arm: TrainingArm, folder: Path) -> Trainer:
    """The plain Trainer with the model's own loss, as run_mlm sets it up."""
    tokenizer, _ = texts(asked)
    settings = TrainingArguments(
        output_dir=str(folder),
        max_steps=asked.warm_up + asked.steps,
        per_device_train_batch_size=asked.batch_size,
        bf16=arm.bf16 and multiplies_bf16(),
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        seed=asked.seed,
        disable_tqdm=True,
    )
    return Trainer(
        model=model_of(asked, tokenizer).model,
        args=settings,
        train_dataset=stock_rows(asked, arm.loop),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=asked.mask_rate),
    )


@lru_cache(maxsize=1)
def stock_rows(asked: TrainingSpeed, loop: Loop) -> list[Row]:
    """Token ids as run_mlm prepares them: groups of full length, or lines."""
    tokenizer, sentences = texts(asked)
    size = asked.block_tokens
    if loop == "groups":
        ids = [token for row in tokenizer(list(sentences))["input_ids"] for token in row]
        return [
            {"input_ids": ids[start : start + size], "attention_mask": [1] * size}
            for start in range(0, len(ids) - size + 1, size)
        ]
    padding = "max_length" if loop == "padded" else False
    made = tokenizer(list(sentences), padding=padding, truncation=True, max_length=size)
    return [
        {"input_ids": ids, "attention_mask": mask}
        for ids, mask in zip(made["input_ids"], made["attention_mask"], strict=True)
    ]


TRAINERS: dict[Loop, Callable[[TrainingSpeed, TrainingArm, Path], Trainer]] = {
    "langmod": our_trainer,
    "groups": stock_trainer,
    "lines": stock_trainer,
    "padded": stock_trainer,
}
