"""``training score``: every published module of a base, and the bare base, on one split."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from langmod.config import Frozen, RunConfig, write_atomic
from langmod.languages import canonical
from langmod.specs import Metric, ModuleManifest
from langmod.store import Module, ModuleStore
from training.score import Sample, Scored, ScoredSplit, open_base
from training.task_data import TaskSettings
from training.task_model import TaskModel


class ScoreConfig(RunConfig):
    """One run of ``training score``."""

    base: str
    corpus: Path
    tasks: tuple[TaskSettings, ...] = ()
    """Where each published task's labelled text is."""
    split: ScoredSplit = "test"
    sentences: int = 100
    """At most so many sentences per language or direction and origin."""
    out: Path


class Row(Frozen):
    """The scores of one system; ``module`` is None for the bare base."""

    module: str | None
    digest: str | None
    method: str
    language: str | None = None
    task: str | None = None
    metrics: tuple[Metric, ...]


class Scoreboard(Frozen):
    """All scores of a base's modules on one split."""

    base: str
    base_digest: str
    split: ScoredSplit
    environment: Mapping[str, JsonValue]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return f"{len(self.rows)} systems of {self.base} scored on {self.split}"


def score_published(config: ScoreConfig) -> Scoreboard:
    """Scores what is published; writes the board as JSON.

    Raises:
        ConfigError: the base is not described.
        DataError: text that cannot be read.
    """
    scored = open_base(config.base)
    store = ModuleStore(Path(config.base) / "modules")
    modules = [store.load(name) for name in store.names()]
    languages = [module for module in modules if module.manifest.role == "language"]
    rows = bare_rows(config, scored, languages)
    rows += [language_row(config, scored, module) for module in languages]
    defaults = default_languages(languages)
    for settings in config.tasks:
        own = [m for m in modules if _answers(m.manifest, settings)]
        rows += [task_row(scored, module, settings, defaults) for module in own]
    board = Scoreboard(
        base=scored.spec.name,
        base_digest=scored.spec.digest,
        split=config.split,
        environment=environment(),
        rows=tuple(rows),
    )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(config.out, json.dumps(board.model_dump(mode="json"), indent=1) + "\n")
    return board


def bare_rows(config: ScoreConfig, scored: Scored, languages: list[Module]) -> list[Row]:
    """The base without a module, for each language or direction that has one."""
    places = {place_of(module.manifest) for module in languages}
    return [
        Row(
            module=None,
            digest=None,
            method="none",
            language=place,
            metrics=tuple(_language_metrics(config, scored, {}, place)),
        )
        for place in sorted(places)
    ]


def language_row(config: ScoreConfig, scored: Scored, module: Module) -> Row:
    """One language module on its own language or direction."""
    place = place_of(module.manifest)
    metrics = _language_metrics(config, scored, tensors_of(module), place)
    return Row(
        module=module.manifest.name,
        digest=module.digest,
        method=module.manifest.method,
        language=place,
        metrics=tuple(metrics),
    )


def task_row(
    scored: Scored, module: Module, settings: TaskSettings, defaults: Mapping[str, Module]
) -> Row:
    """One task module, each language's text through that language's default module."""
    tags = [canonical(tag) for tag in settings.languages]
    stacked = [tag for tag in tags if tag in defaults]
    model = TaskModel(
        scored.slotted,
        settings.task(),
        tensors_of(module),
        [tensors_of(defaults[tag]) for tag in stacked],
    )
    slots = {tag: slot for slot, tag in enumerate(stacked, 1)}
    about = settings.model_copy(update={"pooling": module.manifest.pooling})
    metrics = scored.task(model, about, (module.manifest.labels, slots), "test")
    return Row(
        module=module.manifest.name,
        digest=module.digest,
        method=module.manifest.method,
        task=settings.name,
        metrics=tuple(metrics),
    )


def default_languages(languages: list[Module]) -> dict[str, Module]:
    """The module that serves each language unasked: the highest priority, ties by name."""
    ranked = sorted(languages, key=lambda each: (-each.manifest.priority, each.manifest.name))
    found: dict[str, Module] = {}
    for module in ranked:
        for tag in module.manifest.languages:
            found.setdefault(tag, module)
    return found


def place_of(manifest: ModuleManifest) -> str:
    """A language module's language, or its direction as ``source-target``."""
    if manifest.source and manifest.target:
        return f"{manifest.source}-{manifest.target}"
    return manifest.languages[0]


def tensors_of(module: Module) -> dict[str, Tensor]:
    """A published module's tensors in torch, fp32."""
    return {
        name: torch.from_numpy(np.asarray(tensor, np.float32))
        for name, tensor in module.tensors.items()
    }


def environment() -> dict[str, JsonValue]:
    """The machine and libraries the numbers were measured with."""
    import transformers

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _language_metrics(
    config: ScoreConfig, scored: Scored, tensors: Mapping[str, Tensor], place: str
) -> list[Metric]:
    sample = Sample(sentences=config.sentences)
    if scored.spec.kind == "encoder":
        return scored.language(tensors, config.corpus, place, config.split, sample)
    source, target = place.split("-", 1)
    return scored.direction(tensors, config.corpus, (source, target), config.split, sample)


def _answers(manifest: ModuleManifest, settings: TaskSettings) -> bool:
    tags = {canonical(tag) for tag in settings.languages}
    return manifest.task == settings.name and bool(tags & set(manifest.languages))
