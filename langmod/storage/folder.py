"""Modules in a folder: ``<folder>/<name>/<digest>/<file>`` and ``<folder>/<name>/latest``."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from langmod.storage.storage import LATEST, MANIFEST, TENSORS, TOKENIZER, Storage, StoredModule

LOCK = ".lock"
"""Held by the one that writes; the file stays."""
RACY_NS = 50_000_000
"""A folder changed less than this before it was read may have changed again unseen, as in git."""


class FolderStorage(Storage):
    """A folder on this machine; every change touches it, which is what readers look at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_modules(self) -> dict[str, StoredModule]:
        """Every module with a pointer."""
        if not self.folder.is_dir():
            return {}
        found = {}
        for each in self.folder.iterdir():
            stored = None if each.name.startswith(".") else _stored(each)
            if stored is not None:
                found[each.name] = stored
        return found

    def pointer(self, name: str) -> bytes:
        """The module's ``latest``."""
        try:
            return (self.folder / name / LATEST).read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error

    def read(self, name: str, digest: str, file: str) -> bytes:
        """A file as it lies there."""
        return (self.folder / name / digest / file).read_bytes()

    def put(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """Each file appears whole, flushed to disk before it does."""
        folder = self.folder / name / digest
        folder.mkdir(parents=True, exist_ok=True)
        for file, payload in files.items():
            _replace(folder / file, payload)

    def point(self, name: str, digest: str) -> None:
        """Replaces ``latest`` and touches the store's folder."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        _replace(self.folder / name / LATEST, f"{digest}\n".encode())
        os.utime(self.folder)

    def remove(self, name: str) -> None:
        """Unlinks ``latest``, then takes the folder away in one step."""
        (self.folder / name / LATEST).unlink(missing_ok=True)
        grave = Path(tempfile.mkdtemp(prefix=".remove-", dir=self.folder))
        try:
            (self.folder / name).rename(grave / name)
        except FileNotFoundError:
            pass  # another writer removed it in the meantime
        finally:
            shutil.rmtree(grave)
        os.utime(self.folder)

    def writing(self) -> AbstractContextManager[object]:
        """One writer at a time, of all processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / LOCK, mode=0o666)

    def changed(self) -> int | None:
        """When the folder was last changed, in nanoseconds; None when too lately to be trusted."""
        try:
            changed = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0
        return changed if time.time_ns() - changed > RACY_NS else None

    def stamp(self, name: str, digest: str) -> object:
        """Times and inodes of the version's files, None for one that is not there."""
        folder = self.folder / name / digest
        return tuple(_state(folder / file) for file in (MANIFEST, TENSORS, TOKENIZER))


def _stored(module: Path) -> StoredModule | None:
    """What lies in a module's folder; None where there is no pointer."""
    try:
        return StoredModule(_pointer(module), _versions(module))
    except (FileNotFoundError, NotADirectoryError):
        # Also when it was removed after the store's folder was listed.
        return None


def _pointer(module: Path) -> bytes:
    """What ``latest`` of a module holds, empty where it cannot be read."""
    try:
        return (module / LATEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError:
        return b""


def _versions(module: Path) -> tuple[str, ...]:
    manifests = sorted(module.glob(f"[!.]*/{MANIFEST}"), key=_age, reverse=True)
    return tuple(each.parent.name for each in manifests)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_ino


def _age(path: Path) -> int:
    state = _state(path)
    return state[0] if state else 0


def _replace(path: Path, payload: bytes) -> None:
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("xb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
