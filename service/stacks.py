"""From what a request names to the modules its rows run through."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from langmod.errors import BadRequest, ModuleMismatch, UnknownLanguage, UnknownTask
from langmod.languages import requested, unserved
from langmod.specs import BankSpec, BaseSpec, ModuleManifest, Role
from langmod.store import Module, ModuleStore
from service.bank import Stack
from service.cache import ModuleCache
from service.index import Entry, ModuleIndex
from service.settings import Settings

ANY = "*"
"""Stands among a task module's languages where it transfers to any."""


@dataclass(frozen=True)
class Wanted:
    """What a request names; tags are canonical."""

    language: str | None = None
    task: str | None = None
    kind: str | None = None
    """The endpoint's kind of task, None where no task module is needed."""
    source: str | None = None
    target: str | None = None
    modules: tuple[str, ...] = ()
    """``name`` or ``name@digest``, at most one of a role; they go before what would be found."""


class Resolver:
    """Finds and loads the stack of a request among the modules of one base."""

    def __init__(
        self, store: ModuleStore, base: BaseSpec, banks: Sequence[BankSpec], settings: Settings
    ) -> None:
        self.base = base
        self.index = ModuleIndex(store)
        self.cache = ModuleCache(
            self._load, store.stamp, settings.module_bytes, settings.refuse_seconds
        )
        self._store = store
        self._banks = tuple(banks)

    def stack(self, wanted: Wanted) -> Stack:
        """The modules of one row, loaded.

        Raises:
            UnknownLanguage, UnknownTask, UnknownModule: nobody published it.
            BadRequest: the names do not go together.
            ModuleMismatch, BrokenModule: a module that cannot run here.
        """
        named = self._named(wanted.modules)
        task = self._task(wanted, named.get("task"))
        language = named.get("language") or self._language(wanted, task)
        return Stack(
            self._module(language) if language else None, self._module(task) if task else None
        )

    def possible(self, wanted: Wanted) -> set[str]:
        """Every language in which a request can be answered, whatever language it names.

        Raises:
            UnknownTask, UnknownModule, BadRequest: it cannot be answered in any.
        """
        named = self._named(wanted.modules).get("task")
        if wanted.kind is None or wanted.task is None or named:
            entry = self._task(wanted, named)
            tags = set(entry.manifest.languages) if entry else set()
            return (tags | set(self.languages())) - {ANY}
        tags = set(self.tasks().get(wanted.task, ()))
        _check_kind(self._find_task(wanted.task, min(tags, default=None)), wanted.kind)
        return (tags | set(self.languages())) - {ANY} if ANY in tags else tags

    def named_language(self, modules: Sequence[str]) -> str | None:
        """The language of the language module a request names, if it names one."""
        entry = self._named(modules).get("language")
        tags = entry.manifest.languages if entry else ()
        return tags[0] if tags and tags[0] != ANY else None

    def tag(self, name: str | None) -> str | None:
        """A language as a request names it, in the one form we know it by.

        Returns:
            None where the language is to be detected: nothing, ``""`` or ``auto`` was given.

        Raises:
            UnknownLanguage: not even the form of a language tag.
        """
        try:
            return requested(name)
        except BadRequest:
            raise UnknownLanguage(str(name), self.languages()) from None

    def languages(self) -> list[str]:
        """Every tag that the base or a language module serves."""
        modules = [manifest for manifest in self._manifests() if manifest.role == "language"]
        return sorted({*self.base.languages, *(tag for each in modules for tag in each.languages)})

    def tasks(self) -> dict[str, list[str]]:
        """Every task with the languages it is served in."""
        found: dict[str, set[str]] = {}
        for manifest in self._manifests():
            if manifest.task:
                found.setdefault(manifest.task, set()).update(manifest.languages)
        return {task: sorted(tags) for task, tags in sorted(found.items())}

    def directions(self) -> list[tuple[str, str]]:
        """Every pair of tags that has a module of its own."""
        pairs = ((each.source, each.target) for each in self._manifests())
        return sorted((source, target) for source, target in pairs if source and target)

    def _manifests(self) -> Iterable[ModuleManifest]:
        return [entry.manifest for entry in self.index.listing().entries.values()]

    def _named(self, modules: Sequence[str]) -> dict[Role, Entry]:
        found: dict[Role, Entry] = {}
        for reference in modules:
            entry = self.index.named(reference)
            role = entry.manifest.role
            if role in found:
                raise BadRequest(
                    f"modules: {found[role].manifest.name!r} and {entry.manifest.name!r} are both "
                    f"{role} modules; name at most one of each role"
                )
            found[role] = entry
        return found

    def _language(self, wanted: Wanted, task: Entry | None) -> Entry | None:
        if wanted.source and wanted.target:
            return self._direction(wanted.source, wanted.target)
        tag = wanted.language
        if tag is None:
            return None
        entry = self.index.find(lambda m: _is_language(m) and tag in m.languages)
        trained = {*self.base.languages, *(task.manifest.languages if task else ())}
        if entry is None and tag not in trained:
            raise unserved(tag, self.languages())
        return entry

    def _direction(self, source: str, target: str) -> Entry | None:
        entry = self.index.find(lambda m: (m.source, m.target) == (source, target))
        known = self.base.language_tokens.keys() & set(self.base.languages)
        for tag in (source, target):
            if entry is None and tag not in known:
                raise unserved(tag, sorted(known))
        return entry

    def _task(self, wanted: Wanted, named: Entry | None) -> Entry | None:
        if wanted.kind is None:
            if wanted.task or named:
                raise BadRequest("task: this endpoint takes no task; leave it out")
            return None
        if named is None and wanted.task is None:
            known = ", ".join(self.tasks()) or "none is published"
            raise BadRequest(f"task: name one; known: {known}", known=list(self.tasks()))
        entry = named or self._find_task(str(wanted.task), wanted.language)
        _check_kind(entry, wanted.kind)
        return entry

    def _find_task(self, task: str, language: str | None) -> Entry:
        own = self.index.find(lambda m: m.task == task and language in m.languages)
        entry = own or self.index.find(lambda m: m.task == task and ANY in m.languages)
        if entry is not None:
            return entry
        served = self.tasks()
        if task in served:
            options = [f"{task} in {tag}" for tag in served[task]]
            raise UnknownTask(f"{task} in {language}", options)
        raise UnknownTask(task, list(served))

    def _module(self, entry: Entry) -> Module:
        return self.cache.get(entry.manifest.name, entry.digest)

    def _load(self, name: str, digest: str) -> Module:
        faults = self._store.manifest(name, digest).faults(self.base, self._banks)
        if faults:
            raise ModuleMismatch(name, faults)
        return self._store.load(name, digest)


def _is_language(manifest: ModuleManifest) -> bool:
    return manifest.role == "language" and manifest.source is None


def _check_kind(entry: Entry, kind: str) -> None:
    if entry.manifest.kind != kind:
        raise BadRequest(
            f"task {entry.manifest.task!r} is of kind {entry.manifest.kind}: "
            f"send it to POST /{entry.manifest.kind}"
        )
