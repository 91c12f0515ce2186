"""What a store holds, as requests ask for it: as fresh as the store, without re-reading it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from langmod.errors import BrokenModule, LangmodError, UnknownModule
from langmod.specs import ModuleManifest
from langmod.store import ModuleStore, pointed_at


@dataclass(frozen=True)
class Entry:
    """One version of a published module, without its tensors."""

    manifest: ModuleManifest
    digest: str

    @property
    def key(self) -> str:
        """``name@digest``."""
        return f"{self.manifest.name}@{self.digest}"

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts what serves a request without a name: highest priority first, ties by name."""
        return (-self.manifest.priority, self.manifest.name)


@dataclass(frozen=True)
class Listing:
    """One reading of the store."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    broken: Mapping[str, LangmodError] = field(default_factory=dict)
    stamp: int | None = None
    """What the store's ``changed`` said before; None when that is not to be trusted."""

    @cached_property
    def ranked(self) -> list[Entry]:
        """All entries, the one of the highest rank first."""
        return sorted(self.entries.values(), key=lambda entry: entry.rank)


class ModuleIndex:
    """The latest version of every module; read again when the store changed.

    The pointer of a module that is about to serve is read each time, so that a new version is seen
    even if the store's folder looks unchanged.
    """

    def __init__(self, store: ModuleStore) -> None:
        self.store = store
        self._listing = Listing()
        self._lock = threading.Lock()

    def listing(self) -> Listing:
        """Every module as it lies in the store now."""
        with self._lock:
            stamp = self.store.changed()
            if stamp is None or stamp != self._listing.stamp:
                self._listing = self._read(stamp)
            return self._listing

    def named(self, reference: str) -> Entry:
        """The module called ``name``, or ``name@digest`` for one version of it.

        Raises:
            UnknownModule: no such module or version, even after a fresh look.
            BrokenModule: its files are damaged.
        """
        try:
            return self._named(reference)
        except UnknownModule:
            self.store.look()
            return self._named(reference)

    def find(self, fits: Callable[[ModuleManifest], bool]) -> Entry | None:
        """The module of the highest rank that fits, in its latest version."""
        for entry in self.listing().ranked:
            if not fits(entry.manifest):
                continue
            try:
                current = self._current(entry)
            except (UnknownModule, BrokenModule):
                # Removed or damaged since the folder was read; another may serve.
                continue
            if fits(current.manifest):
                return current
        return None

    def _named(self, reference: str) -> Entry:
        name, _, digest = reference.partition("@")
        listing = self.listing()
        if name in listing.broken:
            raise listing.broken[name].with_traceback(None)
        if name not in listing.entries:
            raise UnknownModule(name, sorted(listing.entries))
        if digest:
            return Entry(self.store.manifest(name, digest), digest)
        return self._current(listing.entries[name])

    def _current(self, entry: Entry) -> Entry:
        name = entry.manifest.name
        digest = self.store.latest(name)
        if digest == entry.digest:
            return entry
        return Entry(self.store.manifest(name, digest), digest)

    def _read(self, stamp: int | None) -> Listing:
        entries: dict[str, Entry] = {}
        broken: dict[str, LangmodError] = {}
        for name, stored in sorted(self.store.list_modules().items()):
            try:
                digest = pointed_at(name, stored.latest)
                entry = self._listing.entries.get(name)
                if entry is None or entry.digest != digest or digest not in stored.versions:
                    entry = Entry(self.store.manifest(name, digest), digest)
                entries[name] = entry
            except UnknownModule:
                continue  # removed since the listing
            except LangmodError as error:
                broken[name] = error
        return Listing(entries, broken, stamp)
