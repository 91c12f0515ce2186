"""What the service would answer, from a task's model in torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder
from langmod.tasks import Example
from training.data.task_data import (
    EncodedExample,
    LabelledText,
    TaskCollator,
    TaskSettings,
    encode_examples,
)


class Labelling(Protocol):
    """A base with a task's head, and whatever modules: labelled rows in, logits out."""

    slotted: SlottedBase

    @property
    def prompt(self) -> int:
        """Most positions of a row that soft prompts take."""
        ...

    def eval(self) -> object:
        """Leaves dropout out."""
        ...

    def __call__(self, **features: Tensor) -> Tensor:
        """Logits ``[B, C]`` or ``[B, T, C]``."""
        ...


def predict(
    model: Labelling,
    encoder: TextEncoder,
    settings: TaskSettings,
    examples: Sequence[LabelledText],
    labels_and_slots: tuple[Sequence[str], Mapping[str, int]],
) -> list[Any]:
    """What the service would answer for each example: a label, or spans."""
    labels, slots = labels_and_slots
    task = settings.task()
    encoded = encode_examples(settings, encoder.beside(model.prompt), examples, labels)
    collate = TaskCollator(encoder.base, settings.pooling, slots)
    loader: Iterable[Mapping[str, Tensor]] = DataLoader(
        OneByOne(encoded), batch_size=32, collate_fn=collate
    )
    model.eval()
    device = model.slotted.model.device
    rows: list[np.ndarray[Any, Any]] = []
    with torch.no_grad():
        for batch in loader:
            features = {name: value for name, value in batch.items() if name != "labels"}
            rows += list(model(**{k: v.to(device) for k, v in features.items()}).cpu().numpy())
    answers = []
    for logits, each in zip(rows, encoded, strict=True):
        own = logits[: len(each.encoded)] if logits.ndim == 2 else logits
        example = Example(each.source.text, each.encoded, encoder, tuple(labels))
        answers.append(task.predicted(task.decode({"logits": own}, example)))
    return answers


class OneByOne(Dataset[EncodedExample]):
    """Examples in their own order."""

    def __init__(self, examples: Sequence[EncodedExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> EncodedExample:
        return self.examples[index]
