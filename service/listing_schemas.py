"""What GET /languages, /tasks and /modules answer, for the description of the interface."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from langmod.specs import Kind, Precision, Role


class Listed(BaseModel):
    """Part of a listing."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ServedBy(Listed):
    """How a base serves a language."""

    kind: Kind
    trained_on: bool
    """Whether the base itself was trained on it."""
    modules: list[str]
    """Its language modules."""


class ListedLanguage(Listed):
    """A language that can be asked for."""

    language: str
    """Canonical tag: what answers call it."""
    name: str
    """In English."""
    bases: Mapping[str, ServedBy]


class LanguageListing(Listed):
    """All languages that can be asked for."""

    languages: list[ListedLanguage]


class TaskModule(Listed):
    """A module that serves a task."""

    name: str
    languages: list[str]
    """``*`` stands for any."""
    labels: list[str]


class ListedTask(Listed):
    """A task that can be asked for."""

    task: str
    kind: str
    """The endpoint that answers it."""
    modules: list[TaskModule]


class TaskListing(Listed):
    """All tasks that can be asked for."""

    tasks: list[ListedTask]


class ListedModule(BaseModel):
    """A published module; its manifest says more than is named here."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    module: str
    """``name@digest``"""
    resident: bool
    """Whether it lies in a slot."""
    role: Role
    method: str
    licence: str


class ListedBase(Listed):
    """A base, with all that is published for it."""

    base: str
    kind: Kind
    digest: str
    precision: Precision
    languages: list[str]
    slots: Mapping[str, Mapping[str, JsonValue]]
    """Of each role: how many, their bytes, who lies there, and what happened so far."""
    modules: list[ListedModule]
    broken: Mapping[str, str]
    """Modules that cannot be served, and why."""
    waiting: int
    """Texts in the queue."""


class ModuleListing(Listed):
    """All modules of all bases."""

    bases: list[ListedBase]
