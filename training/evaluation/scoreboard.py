"""``training score``: every published module of a base, and the bare base, on one split."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from adaptation.banks import banks_of
from adaptation.bases import resolve_base
from langmod.config import Frozen, RunConfig, write_atomic
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError, ModuleMismatch
from langmod.languages import canonical
from langmod.specs import BaseSpec, Metric, ModuleManifest
from langmod.store import Module, ModuleStore
from training.data.corpus import corpus_languages, corpus_pairs
from training.data.task_data import TaskSettings
from training.models.cards import write_card_scores
from training.modules.task_model import TaskModel
from training.scoring.score import Place, Sample, Scored, ScoredSplit, open_base


class ScoreConfig(RunConfig):
    """One run of ``training score``."""

    base: str
    modules: Path | None = None
    """The store; None is ``modules`` in the base's folder."""
    corpus: Path
    tasks: tuple[TaskSettings, ...] = ()
    """Where each published task's labelled text is."""
    split: ScoredSplit = "test"
    sentences: int = 100
    """Most sentences of a language, or of a direction and origin."""
    out: Path


class Row(Frozen):
    """The scores of one system; ``module`` is None for the bare base."""

    module: str | None
    digest: str | None
    method: str
    language: str | None = None
    """Language modules: their language, or direction as ``source-target``."""
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
    """Scores what is published; writes the board as JSON, and the bare base's part to its card.

    Raises:
        ConfigError: the base is not described.
        DataError: text that cannot be read.
        BrokenModule, ModuleMismatch: a published module is damaged or of another base.
    """
    folder = resolve_base(config.base)
    scored = open_base(config.base)
    sample = Sample(corpus=config.corpus, split=config.split, sentences=config.sentences)
    modules = published(scored, ModuleStore(config.modules or folder / "modules"))
    languages = [module for module in modules if module.manifest.role == "language"]
    bare = [place_row(scored, sample, place) for place in places_of(scored.spec, config.corpus)]
    rows = [place_row(scored, sample, place_of(each.manifest), each) for each in languages]
    defaults = default_languages(languages)
    for settings in config.tasks:
        for module in modules:
            served = _served(settings, module.manifest)
            if served.languages:
                rows.append(task_row(scored, module, served, (defaults, config.split)))
    board = Scoreboard(
        base=scored.spec.name,
        base_digest=scored.spec.digest,
        split=config.split,
        environment=environment(),
        rows=(*bare, *rows),
    )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(config.out, json.dumps(board.model_dump(mode="json"), indent=1) + "\n")
    write_card_scores(folder, [metric for row in bare for metric in row.metrics])
    return board


def published(scored: Scored, store: ModuleStore) -> list[Module]:
    """Every module of a store, loaded.

    Raises:
        BrokenModule, ModuleMismatch: damaged, or of another base.
    """
    modules = [store.load(name) for name in store.names()]
    banks = banks_of(scored.slotted.architecture)
    for module in modules:
        faults = module.manifest.faults(scored.spec, banks)
        if faults:
            raise ModuleMismatch(module.manifest.name, faults)
    return modules


def places_of(base: BaseSpec, corpus: Path) -> list[Place]:
    """Every language, or direction, that both the base and the corpus know."""
    if base.kind == "encoder":
        return [(tag,) for tag in corpus_languages(corpus) if tag in base.languages]
    known = sorted(base.language_tokens.keys() & set(base.languages))
    pairs = set(corpus_pairs(corpus))
    return [
        (source, target)
        for source in known
        for target in known
        if pairs & {f"{source}-{target}", f"{target}-{source}"}
    ]


def place_row(scored: Scored, sample: Sample, place: Place, module: Module | None = None) -> Row:
    """One language module, or the bare base, on a language or direction."""
    return Row(
        module=module.manifest.name if module else None,
        digest=module.digest if module else None,
        method=module.manifest.method if module else "none",
        language="-".join(place),
        metrics=tuple(
            scored.place(
                tensors_of(module) if module else {}, place, sample, encoder_of(module, scored.spec)
            )
        ),
    )


def task_row(
    scored: Scored,
    module: Module,
    settings: TaskSettings,
    defaults_and_split: tuple[Mapping[str, Module], ScoredSplit],
) -> Row:
    """One task module, each language's text through that language's default module."""
    defaults, split = defaults_and_split
    tags = [canonical(tag) for tag in settings.languages]
    stacked = [tag for tag in tags if tag in defaults]
    model = TaskModel(
        scored.slotted,
        settings.task(),
        tensors_of(module),
        [tensors_of(defaults[tag]) for tag in stacked],
    )
    slots = {tag: slot for slot, tag in enumerate(stacked, 1)}
    return Row(
        module=module.manifest.name,
        digest=module.digest,
        method=module.manifest.method,
        task=settings.name,
        metrics=tuple(scored.task(model, settings, (module.manifest.labels, slots), split)),
    )


def default_languages(languages: Sequence[Module]) -> dict[str, Module]:
    """The module that serves each language unasked: the highest priority, ties by name."""
    ranked = sorted(languages, key=lambda each: (-each.manifest.priority, each.manifest.name))
    found: dict[str, Module] = {}
    for module in ranked:
        for tag in module.manifest.languages:
            found.setdefault(tag, module)
    return found


def place_of(manifest: ModuleManifest) -> Place:
    """A language module's own language, or its direction."""
    if manifest.source and manifest.target:
        return manifest.source, manifest.target
    return (manifest.languages[0],)


def encoder_of(module: Module | None, spec: BaseSpec) -> TextEncoder | None:
    """What reads text for a module that brings a vocabulary."""
    if module is None or module.tokenizer is None:
        return None
    return TextEncoder(module.tokenizer, spec, module.manifest.vocabulary)


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


def _served(settings: TaskSettings, manifest: ModuleManifest) -> TaskSettings:
    """The settings with only the languages that a module answers this task in.

    Raises:
        ConfigError: its head reads a soft prompt, which no training of ours does.
    """
    answers = manifest.task == settings.name and manifest.kind == settings.kind
    if answers and manifest.pooling == "prompt":
        raise ConfigError(
            f"{manifest.name} reads the first vector of its prompt, which is not scored here: "
            f"leave {settings.name} out"
        )
    return settings.model_copy(
        update={
            "pooling": manifest.pooling,
            "languages": tuple(
                tag
                for tag in settings.languages
                if answers and {canonical(tag), "*"} & set(manifest.languages)
            ),
        }
    )
