"""``training transfer``: what a task module does in languages that it learned nothing from.

MAD-X's zero-shot transfer (Pfeiffer et al. 2020, arXiv 2005.00052): the task module stays, the
language module below it is that of the language it is asked in.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from safetensors.torch import load_file
from torch import Tensor

from adaptation.bases import SPEC_FILE
from adaptation.methods import METHODS
from langmod.config import RunConfig
from langmod.errors import ConfigError
from langmod.specs import BASE_FOLDER, HEAD_FILE, SETTINGS_FILE, Metric, ModuleRun, write_scores
from training.evaluation.measure import Measures
from training.modules.settings import ModuleConfig
from training.modules.task_model import TaskModel
from training.modules.task_run import language_modules
from training.scoring.score import Scored, open_base, texts_digest


class TransferConfig(RunConfig):
    """One run of ``training transfer``."""

    task: Path
    """A finished run of ``training module`` for a task; of a fine-tuned base, one that was kept."""
    languages: tuple[str, ...]
    """Languages as the task's files spell them."""
    language_modules: str | None = None
    """A path with ``{language}`` to runs or published modules; None: the bare base."""
    split: Literal["dev", "test"] = "test"
    examples: int | None = None
    """Most examples of a language, a fixed sample."""
    out: Path


def transfer(config: TransferConfig) -> Measures:
    """Scores a task in each language; writes ``scores.json``.

    Raises:
        ConfigError: no finished run of a task, or a fine-tuned base that was not kept.
        DataError: a language without labelled text.
    """
    run = ModuleRun.load(config.task)
    trained = ModuleConfig.load(config.task / SETTINGS_FILE)
    if trained.task is None:
        raise ConfigError(f"task: {config.task} learned no task but a language")
    settings = trained.task.model_copy(
        update={"languages": config.languages, "max_scored": config.examples}
    )
    scored = open_base(str(base_of(config.task, run, trained)))
    tags, languages = language_modules(config.language_modules, config.languages, scored.slotted)
    tensors = trained_tensors(config.task, run, scored)
    model = TaskModel(scored.slotted, settings.task(), tensors, languages)
    model.to(scored.slotted.model.device)
    slots = {tag: place for place, tag in enumerate(tags, 1)}
    found = scored.task(model, settings, (run.labels, slots), config.split)
    metrics = [*named(found, settings.name), *zero_shot(found, run)]
    config.out.mkdir(parents=True, exist_ok=True)
    write_scores(config.out, metrics)
    return Measures(metrics=tuple(metrics))


def named(metrics: Sequence[Metric], task: str) -> list[Metric]:
    """Metrics that say of which task they are: ``accuracy topic``."""
    return [each.model_copy(update={"name": f"{each.name} {task}"}) for each in metrics]


def zero_shot(metrics: Sequence[Metric], run: ModuleRun) -> list[Metric]:
    """Means over the languages that gave the task no training text: ``zero_shot_f1 ner``."""
    rows = [each for each in metrics if each.language not in run.languages]
    found = []
    for name in dict.fromkeys(each.name for each in rows):
        own = [each for each in rows if each.name == name]
        about = {
            "name": f"zero_shot_{name} {run.task}",
            "value": sum(each.value for each in own) / len(own),
            "language": "mean",
            "signature": f"{own[0].signature}|of:{','.join(str(each.language) for each in own)}",
            "data": texts_digest([each.data for each in own]),
        }
        found.append(own[0].model_copy(update=about))
    return found


def base_of(folder: Path, run: ModuleRun, trained: ModuleConfig) -> Path | str:
    """The base that a run's task is scored on: its own, where it fine-tuned one.

    Raises:
        ConfigError: the fine-tuned base was not kept.
    """
    if run.train != "base":
        return trained.base
    if not (folder / BASE_FOLDER / SPEC_FILE).is_file():
        raise ConfigError(f"task: the base of {folder} was not kept; train it with keep=true")
    return folder / BASE_FOLDER


def trained_tensors(folder: Path, run: ModuleRun, scored: Scored) -> dict[str, Tensor]:
    """A run's head, and its method's tensors if it has any."""
    tensors = load_file(folder / HEAD_FILE)
    if run.train == "module":
        _, own = METHODS[run.method].read(folder / run.name, scored.slotted.architecture)
        tensors |= own
    return tensors
