"""One task module from labelled text to checkpoint and scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from adaptation.bases import resolve_base
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder
from langmod.languages import canonical
from langmod.specs import RUN_FILE, BaseSpec, ModuleRun, write_scores
from langmod.store import LATEST, ModuleStore
from training.data.pairs import length_grouped
from training.data.sampling import draw
from training.data.task_data import (
    EncodedExample,
    TaskCollator,
    encode_examples,
    labels_of,
    read_examples,
)
from training.loop.trainer import arguments, examples_of, fit
from training.modules.runs import describe_run, keep_base, save_run
from training.modules.settings import ModuleConfig
from training.modules.task_model import TaskModel, TaskTrainer, fresh_head
from training.scoring.score import Scored, ScoredSplit


class OrderedExamples(Dataset[EncodedExample]):
    """Examples in one seeded order that already holds every epoch; a batch has like lengths."""

    def __init__(
        self, examples: Sequence[EncodedExample], total: int, batch: int, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        drawn = draw(len(examples), total, random)
        lengths = [len(examples[place].encoded) for place in drawn]
        self.examples, self.order = examples, drawn[length_grouped(lengths, batch, random)]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> EncodedExample:
        return self.examples[self.order[index]]


def train_task(
    config: ModuleConfig, slotted: SlottedBase, spec: BaseSpec, tensors: Mapping[str, Tensor]
) -> ModuleRun:
    """Trains head and method on the task's languages, stacked on their language modules."""
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
        train_dataset=OrderedExamples(encoded, total, optimisation.batch_size, optimisation.seed),
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
    if not (folder / RUN_FILE).is_file() and (folder / LATEST).is_file():
        module = ModuleStore(folder.parent).load(folder.name)
        return {name: torch.from_numpy(each).float() for name, each in module.tensors.items()}
    run = ModuleRun.load(folder)
    _, tensors = METHODS[run.method].read(folder / run.name, slotted.architecture)
    return tensors
