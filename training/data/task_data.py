"""Labelled text for task modules: files → examples → batches, encoded as the service does."""

import json
import lzma
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from langmod.config import Frozen
from langmod.encoding import Encoded, TextEncoder
from langmod.errors import ConfigError, DataError
from langmod.languages import canonical
from langmod.specs import BaseSpec
from langmod.tasks import TASKS, HeadTask, Text
from training.data.packing import IGNORED

SEED = 1
"""Seed of the sample that is scored."""
Split = Literal["train", "dev", "test"]


class TaskSettings(Frozen):
    """One task: its name in requests, its kind, and its files."""

    name: str
    """What a request asks for: ``topic``."""
    kind: str
    """A file of langmod/tasks: ``classify`` or ``tag``."""
    languages: tuple[str, ...]
    """Languages with labelled text, as the file names spell them."""
    files: str
    """Path with ``{language}`` and ``{split}``: TSV ``label, text[, pair]`` or JSON lines with
    ``text`` and ``spans``; ``.xz`` allowed."""
    label: str | None = None
    """The key, in JSON lines, of what a text is labelled with as a whole; None: it has spans."""
    max_train: int | None = None
    """Most training examples of a language, the first ones of the file."""
    max_scored: int | None = None
    """Most dev or test examples of a language, a fixed sample: some files are
    sorted by label."""
    without_dev: tuple[str, ...] = ()
    """Languages of which there is no dev part: they are scored on the test part alone."""
    types: Mapping[str, str] = Field(default_factory=dict)
    """Type of span in the files → the type that is learned, where the languages' types differ;
    spans of others are left out. Empty: the files' own types."""
    pooling: Literal["first", "mean"] = "mean"
    transfers: bool = False
    """Serve it in every language, not only in those it was trained on."""

    def task(self) -> HeadTask:
        """The task's kind.

        Raises:
            ConfigError: no such kind, or one without a head to train.
        """
        found = TASKS.get(self.kind)
        if not isinstance(found, HeadTask):
            allowed = [kind for kind, each in TASKS.items() if isinstance(each, HeadTask)]
            raise ConfigError(f"kind is {self.kind!r}; allowed: {', '.join(allowed)}")
        return found


@dataclass(frozen=True)
class LabelledText:
    """One example: its text or pair, its label or spans, its language."""

    text: Text
    reference: Any
    language: str


def read_examples(settings: TaskSettings, language: str, split: Split) -> list[LabelledText]:
    """The examples of one language and split.

    Raises:
        DataError: no such file, or a line that is not of the form; names file and line.
    """
    path = Path(settings.files.format(language=language, split=split))
    if not path.is_file():
        raise DataError(path, None, "no such file")
    opened = lzma.open if path.suffix == ".xz" else open
    parse = partial(_row, key=settings.label) if ".jsonl" in path.name else _cells
    with opened(path, "rt", encoding="utf-8") as lines:
        found = [
            parse(line.rstrip("\n"), path, number, canonical(language))
            for number, line in enumerate(lines, 1)
        ]
    chosen = (
        found[: settings.max_train] if split == "train" else _sample(found, settings.max_scored)
    )
    return [_retyped(example, settings.types) for example in chosen]


def _sample(examples: list[LabelledText], count: int | None) -> list[LabelledText]:
    """Chooses the same ones for every system, in the order of the file."""
    if count is None or count >= len(examples):
        return examples
    places = sorted(random.Random(SEED).sample(range(len(examples)), count))
    return [examples[place] for place in places]


def _retyped(example: LabelledText, types: Mapping[str, str]) -> LabelledText:
    """Names the types of its spans as the settings do."""
    if not types:
        return example
    spans = [(start, end, types[kind]) for start, end, kind in example.reference if kind in types]
    return replace(example, reference=spans)


def _cells(line: str, path: Path, number: int, language: str) -> LabelledText:
    cells = line.split("\t")
    if len(cells) not in (2, 3) or not all(cells):
        raise DataError(path, number, f"{len(cells)} columns, wanted label, text and maybe a pair")
    text: Text = cells[1] if len(cells) == 2 else (cells[1], cells[2])
    return LabelledText(text, cells[0], language)


def _row(line: str, path: Path, number: int, language: str, key: str | None) -> LabelledText:
    try:
        row = json.loads(line)
        if key is not None:
            return LabelledText(str(row["text"]), str(row[key]), language)
        spans = [(int(start), int(end), str(label)) for start, end, label in row["spans"]]
        return LabelledText(str(row["text"]), spans, language)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, number, f"is no labelled text: {error!r}") from error


def labels_of(settings: TaskSettings, examples: Sequence[LabelledText]) -> tuple[str, ...]:
    """The label set in a stable order; tagging gets ``O``, ``B-`` and ``I-`` of each type."""
    if settings.kind != "tag":
        return tuple(sorted({str(example.reference) for example in examples}))
    types = sorted({label for example in examples for _, _, label in example.reference})
    return ("O", *(f"{mark}-{label}" for label in types for mark in "BI"))


@dataclass(frozen=True, eq=False)
class EncodedExample:
    """An example as the base reads it."""

    source: LabelledText
    encoded: Encoded
    target: NDArray[np.int64]


def encode_examples(
    settings: TaskSettings,
    encoder: TextEncoder,
    examples: Sequence[LabelledText],
    labels: Sequence[str],
) -> list[EncodedExample]:
    """Encodes text and targets; what is too long for the base is cut, as said in the card."""
    task = settings.task()
    found = []
    for example in examples:
        encoded = task.encode(encoder, example.text, truncate=True)
        target = task.targets(example.reference, encoded, labels)
        found.append(EncodedExample(example, encoded, target))
    return found


class TaskCollator:
    """Pads examples into what ``TaskModel`` takes."""

    def __init__(self, base: BaseSpec, pooling: str, language_slots: Mapping[str, int]) -> None:
        """``language_slots``: tag → slot of its language module, 0 where there is none."""
        self.base, self.pooling, self.language_slots = base, pooling, language_slots

    def __call__(self, rows: Sequence[EncodedExample]) -> dict[str, torch.Tensor]:
        """Arrays ``[B, T]`` besides ``slots [B, 2]`` and the labels, ``[B]`` or ``[B, T]``."""
        shape = (len(rows), max(len(row.encoded) for row in rows))  # [B, T]
        ids = np.full(shape, self.base.pad_id, np.int64)
        types, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        pool = np.zeros(shape, np.float32)
        tokens = rows[0].target.ndim == 1
        labels = np.full(shape if tokens else (len(rows),), IGNORED, np.int64)
        for at, row in enumerate(rows):
            length = len(row.encoded)
            ids[at, :length], types[at, :length] = row.encoded.token_ids, row.encoded.type_ids
            mask[at, :length] = 1
            first = self.pooling == "first"
            pool[at, : 1 if first else length] = 1 if first else 1 / length
            if tokens:
                labels[at, :length] = row.target
            else:
                labels[at] = row.target
        slots = [[self.language_slots.get(row.source.language, 0), 0] for row in rows]
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types,
                  "pool": pool, "slots": np.array(slots), "labels": labels}  # fmt: skip
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
