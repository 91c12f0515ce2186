"""The store of a base for serving; one that lies far away is read through a folder beside us."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from langmod.errors import BrokenModule, LangmodError, UnknownModule
from langmod.specs import ModuleManifest
from langmod.storage import MANIFEST, FolderStorage, Storage, StoredModule, open_storage
from langmod.store import ModuleStore, pointed_at
from service import metrics
from service.poller import Poller
from service.settings import Settings

logger = logging.getLogger("langmod.store")
LOOK_SECONDS = 1.0
"""An unknown name has the store looked at again, but not more often than this."""
Reached = Callable[[bool], None]


def open_store(folder: Path, base: str, settings: Settings) -> ModuleStore:
    """The folder beside a base, or what ``LANGMOD_STORE`` names for it.

    Raises:
        ConfigError: no such kind of URL, or the package that reads it is not installed.
    """
    if settings.store is None:
        return ModuleStore(folder / "modules")
    place = settings.store.replace("{base}", base)
    storage = open_storage(place)
    if isinstance(storage, FolderStorage):
        return ModuleStore(storage)
    # Named by digest: a URL may hold a password, and more characters than a folder's name.
    cache = settings.cache.expanduser() / hashlib.sha256(place.encode()).hexdigest()[:12]

    def count(reached: bool) -> None:
        metrics.STORE_LOOKS.labels(base, "ok" if reached else "unreachable").inc()

    return RemoteStore(storage, cache, settings.poll_seconds, count)


class RemoteStore(ModuleStore):
    """A far store: looked at now and then, its files kept in a folder once they are verified.

    While it cannot be reached, what was seen last is served, over a restart too.
    """

    def __init__(
        self, storage: Storage, cache: Path, poll_seconds: float, reached: Reached = lambda _: None
    ) -> None:
        """Takes the first look.

        ``reached`` is told after each look whether the store could be reached.
        """
        super().__init__(storage)
        self._cache = ModuleStore(cache)
        self._poll_seconds = poll_seconds
        self._reached = reached
        self._lost = False
        self._poller = Poller(self._list_modules, dict(self._cache.list_modules()), self._note)
        self._poller.refresh(0, patience=None)

    def list_modules(self) -> Mapping[str, StoredModule]:
        """What the last look found."""
        return self._poller.value

    def manifest(self, name: str, digest: str) -> ModuleManifest:
        """Reads it as of any store; a version that the far store lacks is none, cached or not."""
        stored = self.list_modules().get(name)
        if stored is None or digest not in stored.versions:
            raise self._absent(name, digest, MANIFEST)
        return super().manifest(name, digest)

    def look(self) -> None:
        """Looks again, unless that was done within the last second."""
        self._poller.refresh(min(LOOK_SECONDS, self._poll_seconds))

    def changed(self) -> int | None:
        """Looks again after ``poll_seconds``; how often something else was found."""
        self._poller.refresh(self._poll_seconds)
        return self._poller.serial

    def stamp(self, name: str, digest: str) -> object:
        """Differs when the last look saw other files of the module."""
        stored = self.list_modules().get(name)
        return stored and stored.state

    def _pointer(self, name: str) -> bytes:
        stored = self.list_modules().get(name)
        if stored is None:
            raise UnknownModule(name, self.names())
        return stored.latest

    def verified(self, name: str, digest: str, file: str, seal: str) -> bytes:
        """From the folder beside us, or from afar and then kept there."""
        with suppress(BrokenModule, UnknownModule):
            return self._cache.verified(name, digest, file, seal)
        payload = super().verified(name, digest, file, seal)
        try:
            self._cache.storage.put(name, digest, {file: payload})
        except OSError as error:
            logger.warning("%s@%s is not kept: %s", name, digest, error)
        return payload

    def _list_modules(self) -> dict[str, StoredModule]:
        """A look, with the manifests that serve, so that no request waits for them."""
        found = self.storage.list_modules()
        for name, stored in found.items():
            with suppress(BrokenModule, UnknownModule):
                digest = pointed_at(name, stored.latest)
                self.verified(name, digest, MANIFEST, digest)
        try:
            self._follow(found)
        except OSError as error:
            logger.warning("the cache of the store is not kept: %s", error)
        return found

    def _follow(self, found: Mapping[str, StoredModule]) -> None:
        """Brings the cache's pointers up to a look: they are what a start without the store has."""
        cached = self._cache.list_modules()
        for name in cached.keys() - found.keys():
            self._cache.storage.remove(name)
        for name, stored in found.items():
            if name not in cached or cached[name].latest.strip() != stored.latest.strip():
                with suppress(BrokenModule):
                    self._cache.storage.point(name, pointed_at(name, stored.latest))

    def _note(self, error: Exception | None) -> None:
        self._reached(error is None)
        if error is not None and not self._lost:
            what = error.message if isinstance(error, LangmodError) else repr(error)
            logger.warning("%s; what was seen before is served", what)
        elif error is None and self._lost:
            logger.warning("the store can be reached again")
        self._lost = error is not None
