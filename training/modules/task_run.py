"""One task module from labelled text to checkpoint; predictions on any split for its scores."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adaptation.bases import resolve_base
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder
from langmod.languages import canonical
from langmod.specs import BaseSpec
from langmod.store import LATEST, ModuleStore
from langmod.tasks import Example
from training.data.sampling import draw
from training.data.task_data import (
    EncodedExample,
    LabelledText,
    TaskCollator,
    TaskSettings,
    encode_examples,
    labels_of,
    read_examples,
)
from training.loop.trainer import arguments, examples_of, fit
from training.modules.task_model import TaskModel, TaskTrainer, fresh_head

if TYPE_CHECKING:
    from training.modules.module import ModuleConfig, ModuleRun


class OrderedExamples(Dataset[EncodedExample]):
    """Examples in one seeded order that already holds every epoch."""

    def __init__(self, examples: Sequence[EncodedExample], total: int, seed: int) -> None:
        self.examples = examples
        self.order = draw(len(examples), total, np.random.default_rng(seed))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> EncodedExample:
        return self.examples[self.order[index]]


def train_task(
    config: "ModuleConfig", slotted: SlottedBase, spec: BaseSpec, tensors: Mapping[str, Tensor]
) -> "ModuleRun":
    """Trains head and method on the task's languages, stacked on their language modules."""
    from training.evaluation.score import Scored, ScoredSplit, write_scores
    from training.modules.module import describe_run, keep_base, save_run

    settings = config.task
    assert settings is not None
    examples = [
        example for tag in settings.languages for example in read_examples(settings, tag, "train")
    ]
    labels = labels_of(settings, examples)
    generator = torch.Generator().manual_seed(config.optimisation.seed)
    head = fresh_head(settings.task(), spec.width, len(labels), generator)
    tags, languages = language_modules(config.language_modules, settings.languages, slotted)
    learns = config.train == "base"
    model = TaskModel(slotted, settings.task(), {**tensors, **head}, languages, learns)
    if config.train == "module":
        method = METHODS[config.method]
        chosen = method.Config.model_validate(config.method_config)
        model.freeze_layers(method.frozen_layers(chosen, slotted.architecture))
    slots = {tag: place for place, tag in enumerate(tags, 1)}
    whole = TextEncoder(resolve_base(config.base) / "tokenizer.json", spec)
    optimisation = config.optimisation
    total = examples_of(optimisation)
    encoded = encode_examples(settings, whole.beside(model.prompt), examples, labels)
    trainer = TaskTrainer(
        model=model,
        args=arguments(config.out / "checkpoints", optimisation, saves=not learns),
        factors=optimisation.factors(slotted.architecture),
        train_dataset=OrderedExamples(encoded, total, optimisation.seed),
        data_collator=TaskCollator(spec, settings.pooling, slots),
    )
    run = describe_run(config, spec, model, fit(trainer)).model_copy(
        update={
            "languages": tuple(canonical(tag) for tag in settings.languages)
            + (("*",) if settings.transfers else ()),
            "task": settings.name,
            "kind": settings.kind,
            "labels": labels,
            "pooling": settings.pooling,
        }
    )
    if not trainer.is_world_process_zero():
        return run
    save_run(config, run, slotted, model.tensors())
    if learns and config.keep:
        keep_base(config, slotted, spec, resolve_base(config.base))
    if not config.score:
        return run
    scored = Scored(slotted, spec, resolve_base(config.base))
    # A fine-tuned base is dropped after its run, so its test scores are taken here too.
    splits: list[ScoredSplit] = ["dev", "test"] if config.train != "module" else ["dev"]
    metrics = [m for each in splits for m in scored.task(model, settings, (labels, slots), each)]
    write_scores(config.out, metrics)
    return run


def language_modules(
    place: str | None, languages: Sequence[str], slotted: SlottedBase
) -> tuple[list[str], list[dict[str, Tensor]]]:
    """Tags and tensors of the language modules to stack on, in slot order.

    ``place`` is a path with ``{language}``; None: the bare base.
    """
    if place is None:
        return [], []
    tags = [canonical(tag) for tag in languages]
    return tags, [stacked_tensors(Path(place.format(language=tag)), slotted) for tag in tags]


def stacked_tensors(folder: Path, slotted: SlottedBase) -> dict[str, Tensor]:
    """The method tensors of a finished run, or of a published module (``modules/<name>``)."""
    from training.modules.module import RUN_FILE, load_run

    if not (folder / RUN_FILE).is_file() and (folder / LATEST).is_file():
        module = ModuleStore(folder.parent).load(folder.name)
        return {name: torch.from_numpy(each).float() for name, each in module.tensors.items()}
    run = load_run(folder)
    _, tensors = METHODS[run.method].read(folder / run.name, slotted.architecture)
    return tensors


def predict(
    model: TaskModel,
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
        answers.append(plain(task.decode({"logits": own}, example)))
    return answers


def plain(answer: Mapping[str, Any]) -> Any:
    """An answer as its reference is written: the label, or ``(start, end, label)`` spans."""
    if "spans" in answer:
        return [(span["start"], span["end"], span["label"]) for span in answer["spans"]]
    return answer["label"]


class OneByOne(Dataset[EncodedExample]):
    """Examples in their own order."""

    def __init__(self, examples: Sequence[EncodedExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> EncodedExample:
        return self.examples[index]
