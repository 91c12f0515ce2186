"""What a store holds, as requests ask for it: as fresh as the folder, without re-reading it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from langmod.errors import BrokenModule, UnknownModule
from langmod.specs import ModuleManifest
from langmod.store import ModuleStore

RACY_NS = 50_000_000
"""A folder changed less than this before it was read may have changed again unseen, as in git."""


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
    broken: Mapping[str, BrokenModule] = field(default_factory=dict)
    stamp: int | None = None
    """Modification time of the folder, None when it is too young to be trusted."""


class ModuleIndex:
    """The latest version of every module; read again when the store's folder changed.

    A publisher touches the folder, so a new module is found by the next request. The pointer of a
    module that is about to serve is read each time, so a new version is as well.
    """

    def __init__(self, store: ModuleStore) -> None:
        self.store = store
        self._listing = Listing()
        self._lock = threading.Lock()

    def listing(self) -> Listing:
        """Every module as it lies in the store now."""
        with self._lock:
            stamp = self._stamp()
            if stamp is None or stamp != self._listing.stamp:
                self._listing = self._read(stamp)
            return self._listing

    def named(self, reference: str) -> Entry:
        """The module called ``name``, or ``name@digest`` for one version of it.

        Raises:
            UnknownModule: no such module or version.
            BrokenModule: its files are damaged.
        """
        name, _, digest = reference.partition("@")
        listing = self.listing()
        if name in listing.broken:
            raise listing.broken[name].with_traceback(None)
        if name not in listing.entries:
            raise UnknownModule(name, sorted(listing.entries))
        if digest:
            return Entry(self.store.manifest(name, digest), digest)
        return self._current(listing.entries[name])

    def find(self, fits: Callable[[ModuleManifest], bool]) -> Entry | None:
        """The module of the highest rank that fits, in its latest version."""
        entries = self.listing().entries.values()
        for entry in sorted(entries, key=lambda entry: entry.rank):
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

    def _current(self, entry: Entry) -> Entry:
        name = entry.manifest.name
        digest = self.store.latest(name)
        if digest == entry.digest:
            return entry
        return Entry(self.store.manifest(name, digest), digest)

    def _stamp(self) -> int | None:
        try:
            changed = self.store.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0
        return changed if time.time_ns() - changed > RACY_NS else None

    def _read(self, stamp: int | None) -> Listing:
        entries: dict[str, Entry] = {}
        broken: dict[str, BrokenModule] = {}
        for name in self.store.names():
            try:
                digest = self.store.latest(name)
                entry = self._listing.entries.get(name)
                if entry is None or entry.digest != digest:
                    entry = Entry(self.store.manifest(name, digest), digest)
                entries[name] = entry
            except BrokenModule as error:
                broken[name] = error
            except UnknownModule as error:
                broken[name] = BrokenModule(f"module {name!r}: {error.message}")
        return Listing(entries, broken, stamp)
