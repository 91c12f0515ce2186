"""A trained checkpoint, ours or a foreign one, as the tensors and facts of a module.

What is wrong with one is gathered, so that all of it is said at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adaptation import adapterhub, peft_folder
from adaptation.architectures import Architecture
from adaptation.bases import resolve
from adaptation.methods import METHODS
from adaptation.methods.method import described
from export.heads import Head, read_head
from export.token_faults import token_faults
from langmod.config import Frozen, describe
from langmod.errors import BrokenModule, ConfigError, LangmodError, ModuleMismatch
from langmod.specs import (
    HEAD_FILE,
    RUN_FILE,
    SCORES_FILE,
    BaseSpec,
    Metric,
    ModuleRun,
    Pooling,
    Role,
    Vocabulary,
    read_scores,
)

FILES = ("*.json", "*.safetensors", adapterhub.PICKLE, adapterhub.HEAD_PICKLE, peft_folder.PICKLE)
"""What is fetched of a checkpoint on the hub."""
OUTSIDE = "O"


class ModuleDescription(Frozen):
    """What a checkpoint of another library does not say of itself; a run of ours says it all."""

    name: str = ""
    role: Role | None = None
    """None: task where the checkpoint has a head or a task is named, else language."""
    languages: tuple[str, ...] = ()
    source: str | None = None
    target: str | None = None
    task: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    """Names of a foreign head's answers, instead of those that it brings."""
    pooling: Pooling = "first"
    licence: str = "unknown"
    data: str = "unknown"
    priority: int = 0
    metrics: tuple[Metric, ...] = ()
    head: bool = True
    """Whether a foreign checkpoint's head is taken too."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read for a base: tensors as banks take them."""

    description: ModuleDescription
    method: str
    config: dict[str, object]
    tensors: dict[str, Tensor]
    vocabulary: tuple[Vocabulary, bytes] | None = None
    """What it brings, and its ``tokenizer.json``."""
    files: Path | None = None
    """Where those lie that a library wrote, or could have."""
    head: str | None = None
    """The kind of a head that lies among them and was taken."""
    trained_on: str = ""
    """What a foreign one calls its base; nothing in it tells that base's weights."""


@dataclass
class Faults:
    """All that is wrong with a checkpoint; it is true where there is anything."""

    errors: list[LangmodError] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.errors)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Runs the block to its first error, which is kept."""
        try:
            yield
        except LangmodError as error:
            if error.message not in [each.message for each in self.errors]:
                self.errors.append(error)
        except ValidationError as error:
            self.errors.append(ConfigError(describe(error)))

    def add(self, name: str, faults: Sequence[str]) -> None:
        """Keeps why a module does not fit."""
        if faults:
            self.errors.append(ModuleMismatch(name, faults))

    def listed(self) -> list[str]:
        """One line each."""
        return [
            line
            for error in self.errors
            for line in (
                [str(each) for each in error.details["faults"]]
                if isinstance(error, ModuleMismatch) and isinstance(error.details["faults"], list)
                else [error.message]
            )
        ]

    def refuse(self, name: str) -> None:
        """Raises what was gathered, if anything.

        Raises:
            LangmodError: the one error there is.
            ModuleMismatch: there are several; lists all of them.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ModuleMismatch(name, self.listed())


def resolve_checkpoint(name: str) -> Path:
    """The folder of a checkpoint given as a folder or a hub id.

    Raises:
        ConfigError: neither a folder nor a repository that can be reached.
    """
    return resolve(name, FILES)


def read_checkpoint(
    source: Path,
    base: Architecture,
    spec: BaseSpec,
    description: ModuleDescription | None,
    faults: Faults,
) -> Checkpoint:
    """A run of ours, or a plain PEFT or AdapterHub folder with a description.

    What ``faults`` says cannot be read is left out.

    Raises:
        BrokenModule: a ``run.json`` that is no run of ours.
        ConfigError: a run that is no module.
    """
    if (source / RUN_FILE).is_file():
        return _own_run(source, base, spec, faults)
    return _foreign(source, base, spec, description or ModuleDescription(), faults)


def _foreign(
    source: Path, base: Architecture, spec: BaseSpec, about: ModuleDescription, faults: Faults
) -> Checkpoint:
    method, head, headless = "", None, False
    config: dict[str, object] = {}
    tensors: dict[str, Tensor] = {}
    vocabulary = None
    with faults.gathered():
        method = _known_method(source)
        settings, tensors = METHODS[method].read(source, base)
        config = settings.model_dump(mode="json")
        vocabulary = METHODS[method].vocabulary(source)
    with faults.gathered():
        if vocabulary is None:
            folder = Path(base.model.config.name_or_path)
            faults.add(source.name, token_faults(source, folder))
    with faults.gathered():
        head = read_head(source, base) if about.head else None
        headless = head is None
    about = _described(about, head)
    with faults.gathered():
        _check_said(source, about, spec)
    if about.role == "task" and headless:
        faults.add(source.name, ["a task module needs a head, and here is none"])
    if head is not None:
        faults.add(source.name, _head_faults(about, head))
        tensors = {**tensors, **head.tensors}
    kind = None if head is None else head.kind
    told = described(source)
    base_name = told.get("base_model_name_or_path") or told.get("model_name") or ""
    return Checkpoint(about, method, config, tensors, vocabulary, source, kind, str(base_name))


def _known_method(source: Path) -> str:
    """Which method's format a plain folder is in."""
    found = [name for name, method in METHODS.items() if method.recognises(source)]
    if found:
        return found[0]
    kind = described(source).get("peft_type")
    if (source / adapterhub.FUSION).is_file():
        mixed = "is an AdapterFusion, which mixes adapters token by token; publish each"
        raise ModuleMismatch(source.name, [f"{source.name} {mixed}"])
    if kind is None:
        raise BrokenModule(f"{source} is no checkpoint of: {', '.join(METHODS)}")
    served = sorted(name for method in METHODS.values() for name in method.peft_types)
    raise ModuleMismatch(source.name, [f"peft_type is {kind!r}; allowed: {', '.join(served)}"])


def _described(about: ModuleDescription, head: Head | None) -> ModuleDescription:
    """Adds what the head tells of the module."""
    role: Role = "task" if head is not None or about.task else "language"
    told: dict[str, object] = {"role": about.role or role}
    if head is not None:
        told |= {"kind": head.kind, "pooling": head.pooling}
        told |= {"labels": about.labels or head.labels}
    return about.model_copy(update=told)


def _check_said(source: Path, about: ModuleDescription, spec: BaseSpec) -> None:
    missing = [] if about.name else ["--name"]
    if spec.kind == "translator" and not (about.source and about.target):
        missing.append("--direction")
    elif spec.kind == "encoder" and not about.languages:
        missing.append("--language")
    if about.role == "task" and not about.task:
        missing.append("--task")
    if missing:
        raise ConfigError(f"{source} has no run.json: say {' and '.join(missing)}")


def _head_faults(about: ModuleDescription, head: Head) -> list[str]:
    faults = []
    if about.role == "language":
        faults.append("a language module has no head: say --role task, or --no-head")
    if len(about.labels) != head.classes:
        named = f"{len(about.labels)} have names" if about.labels else "none has a name"
        faults.append(f"the head has {head.classes} labels, {named}: say --labels")
    if head.kind == "tag":
        odd = [each for each in about.labels if each != OUTSIDE and each[:2] not in ("B-", "I-")]
        named = ", ".join(map(repr, odd))
        faults += [f"labels {named}: allowed are O, B-… and I-…"] if odd else []
    return faults


def _own_run(source: Path, base: Architecture, spec: BaseSpec, faults: Faults) -> Checkpoint:
    try:
        run = ModuleRun.load(source)
        method, metrics = METHODS[run.method], _metrics(source)
    except (ConfigError, OSError, ValueError, KeyError) as error:
        raise BrokenModule(f"{source / RUN_FILE} is no run of ours: {error!r}") from error
    if run.train != "module":
        raise ConfigError(f"{source} is a baseline (train: {run.train}), not a module")
    if run.base_digest != spec.digest:
        faults.add(
            run.name, [f"trained on {run.base} {run.base_digest[:12]}, "
                       f"this is {spec.name} {spec.digest[:12]}"]
        )  # fmt: skip
    facts = run.model_dump(include=set(ModuleDescription.model_fields))
    about = ModuleDescription(**facts, metrics=metrics)
    config: dict[str, object] = {}
    tensors: dict[str, Tensor] = {}
    vocabulary = None
    with faults.gathered():
        settings, tensors = method.read(source / about.name, base)
        config = settings.model_dump(mode="json")
        vocabulary = method.vocabulary(source / about.name)
    with faults.gathered():
        tensors = tensors | _own_head(source)
    return Checkpoint(about, method.name, config, tensors, vocabulary, source / about.name)


def _own_head(source: Path) -> dict[str, Tensor]:
    head = source / HEAD_FILE
    if not head.is_file():
        return {}
    try:
        return dict(load_file(head))
    except (OSError, SafetensorError) as error:
        raise BrokenModule(f"{head} is no safetensors: {error}") from error


def _metrics(source: Path) -> tuple[Metric, ...]:
    if not (source / SCORES_FILE).is_file():
        return ()
    return tuple(each for each in read_scores(source) if each.split == "dev")
