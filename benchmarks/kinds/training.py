"""Tokens a second of training: our loop beside those of Hugging Face's run_mlm example.

Each loop has a process of its own, so that what one does to its memory helps no other.
"""

import math
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaForMaskedLM,
)

from adaptation.architectures import EncoderArchitecture
from benchmarks.experiment import Column, Experiment, Inputs, Ratio, Ways, constant
from langmod.languages import canonical
from training.data.corpus import read_text
from training.data.packing import BlockDataset, MaskingCollator, Special, pack, token_lists
from training.loop.processor import keep_memory
from training.loop.trainer import Optimisation, SparseTrainer, arguments, multiplies_bf16
from training.models.sizes import SHAPES, encoder_config

OURS, GROUPS, LINES = "`training base`", "run_mlm, texts in groups", "run_mlm, a line a row"


class TrainingSpeed(Experiment):
    """Train by our loop and by those of Hugging Face's example in turns."""

    kind = "training"
    heads = ("", "loop, products")
    columns = (Column("text in a row", ".0%"), Column("s a step", ".2f"), Column("tokens/s"))
    ratio = Ratio("ours ÷ it", "tokens/s")
    caption = (
        "Tokens of text read in a second (padding does not count), in {steps} steps of {size}, "
        "{batch_size} rows of at most {block_tokens} tokens a step, {mask_rate:.0%} masked."
    )

    size: Literal["nano", "mini", "small"] = "mini"
    tokenizer: Path
    corpus: Path
    languages: tuple[str, ...]
    sentences: int = Field(default=2000, ge=1)
    """Of each language."""
    block_tokens: int = 128
    mask_rate: float = 0.15
    batch_size: int = 12
    arms: tuple[str, ...]
    """A loop and whether its products are in bf16 or fp32; the first is compared with."""
    warm_up: int = Field(default=2, ge=1)
    """Steps before the clock starts, in each repetition."""
    steps: int = Field(default=6, ge=1)

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        pool = partial(ProcessPoolExecutor, 1, mp_context=get_context("spawn"))
        pools = {arm: stack.enter_context(pool()) for arm in self.arms}
        wait([each.submit(texts_of, self) for each in pools.values()])
        return {arm: {"": partial(_result, each, self, arm)} for arm, each in pools.items()}

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        yield "", constant()


def _result(pool: ProcessPoolExecutor, asked: TrainingSpeed, arm: str) -> dict[str, float]:
    return pool.submit(repeat, asked, arm).result()


@lru_cache(maxsize=1)
def texts_of(asked: TrainingSpeed) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer, and sentences of all languages in one random order."""
    sentences: list[str] = []
    for tag in map(canonical, asked.languages):
        sentences += read_text(asked.corpus, tag, "train")[: asked.sentences]
    random.Random(asked.seed).shuffle(sentences)
    return AutoTokenizer.from_pretrained(asked.tokenizer), sentences


def stock_rows(asked: TrainingSpeed, loop: str) -> list[dict[str, list[int]]]:
    """Token ids as run_mlm prepares them: groups of full length, or lines."""
    tokenizer, sentences = texts_of(asked)
    size = asked.block_tokens
    rows = tokenizer(sentences, truncation=loop == LINES, max_length=size)["input_ids"]
    if loop == GROUPS:
        ids = [token for row in rows for token in row]
        rows = [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows]


def stock_trainer(asked: TrainingSpeed, arm: str, folder: Path) -> Trainer:
    """The plain Trainer with the model's own loss, as run_mlm sets it up."""
    loop, _, products = arm.rpartition(", ")
    tokenizer, _ = texts_of(asked)
    settings = TrainingArguments(
        output_dir=str(folder), max_steps=asked.warm_up + asked.steps,
        per_device_train_batch_size=asked.batch_size, seed=asked.seed, disable_tqdm=True,
        bf16=products == "bf16" and multiplies_bf16(), use_cpu=not torch.cuda.is_available(),
        save_strategy="no", report_to=[],
    )  # fmt: skip
    return Trainer(
        model=model_of(asked),
        args=settings,
        train_dataset=stock_rows(asked, loop),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=asked.mask_rate),
    )


def our_trainer(asked: TrainingSpeed, arm: str, folder: Path) -> Trainer:
    """What `training base` runs."""
    keep_memory()
    tokenizer, sentences = texts_of(asked)
    base, special = EncoderArchitecture(model_of(asked)), Special.of(tokenizer)
    blocks = pack(token_lists(tokenizer, sentences), special, asked.block_tokens)
    steps, rows, bf16 = asked.warm_up + asked.steps, asked.batch_size, arm.endswith("bf16")
    settings = Optimisation(
        steps=steps, batch_size=rows, learning_rate=5e-5, bf16=bf16, seed=asked.seed
    )
    return SparseTrainer(
        base.model,
        base.vocabulary_head(),
        vocabulary=base.vocabulary,
        tail=base.tail,
        args=arguments(folder, settings, saves=False),
        train_dataset=BlockDataset({"all": blocks}, steps * rows, (1.0, math.inf), asked.seed),
        data_collator=MaskingCollator(special, len(tokenizer), asked.mask_rate, asked.seed),
    )


def model_of(asked: TrainingSpeed) -> XLMRobertaForMaskedLM:
    """The same weights for every loop."""
    torch.manual_seed(asked.seed)
    return XLMRobertaForMaskedLM(encoder_config(SHAPES[asked.size], texts_of(asked)[0], 0.0))


class Clock(TrainerCallback):
    """When each step ended, and the text and all positions of its batch."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.ends: list[float] = []
        self.text: list[int] = []
        self.positions: list[int] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Notes the time."""
        self.ends.append(time.perf_counter())

    def __call__(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Notes a batch and gives it as it is."""
        batch: dict[str, torch.Tensor] = self.collate(rows)
        self.text.append(int(batch["attention_mask"].sum()))
        self.positions.append(batch["attention_mask"].numel())
        return batch


def repeat(asked: TrainingSpeed, arm: str) -> dict[str, float]:
    """Takes a fresh model through some steps of a loop."""
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = (our_trainer if arm.startswith(OURS) else stock_trainer)(asked, arm, Path(folder))
        trainer.data_collator = clock = Clock(trainer.data_collator)
        trainer.add_callback(clock)
        trainer.train()
    seconds = clock.ends[-1] - clock.ends[asked.warm_up - 1]
    measured = slice(asked.warm_up, asked.warm_up + asked.steps)
    text, positions = sum(clock.text[measured]), sum(clock.positions[measured])
    return {
        "tokens/s": round(text / seconds, 1),
        "s a step": round(seconds / asked.steps, 4),
        "text in a row": round(text / positions, 4),
    }
