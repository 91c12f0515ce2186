"""Modules under any URL that fsspec opens (S3, GCS, Azure, SFTP, HTTP …), laid out as in a folder.

Options of a file system come from fsspec's own configuration (``FSSPEC_S3_ENDPOINT_URL=…``).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs

from langmod.errors import ConfigError, LangmodError, Unavailable
from langmod.storage.storage import LATEST, MANIFEST, Storage, StoredModule

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
"""Where file systems say when a file was written; an order of versions, nothing more."""
DEPTH = 3
"""Levels of folders: the store, a module, a version."""


class UrlStorage(Storage):
    """A prefix of an object store, or a folder of a far file system.

    Needs a file system whose files appear whole, as in object stores. Nothing is renamed.
    """

    def __init__(self, url: str) -> None:
        """Opens a URL without reading anything.

        Raises:
            ConfigError: no such kind of URL, or the package that reads it is not installed.
        """
        self.url = re.sub(r"//[^/@]*@", "//", url)  # messages show no password
        try:
            self._fs, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"store {self.url}: {error}") from error
        self._root: str = root.rstrip("/")

    def list_modules(self) -> dict[str, StoredModule]:
        """One listing of all files, and every pointer."""
        with self._reach():
            modules = self._modules()
            pointers = self._pointers([name for name, files in modules.items() if LATEST in files])
        return {
            name: StoredModule(pointer, _versions(modules[name]), repr(modules[name]))
            for name, pointer in pointers.items()
        }

    def pointer(self, name: str) -> bytes:
        """One small read."""
        with self._reach():
            return self._fs.cat_file(self._path(name, LATEST))

    def read(self, name: str, digest: str, file: str) -> bytes:
        """One download."""
        with self._reach():
            return self._fs.cat_file(self._path(name, digest, file))

    def put(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """Uploads in the order given."""
        with self._reach():
            for file, payload in files.items():
                self._write(self._path(name, digest, file), payload)

    def point(self, name: str, digest: str) -> None:
        """Overwrites ``latest``."""
        with self._reach():
            self._write(self._path(name, LATEST), f"{digest}\n".encode())

    def remove(self, name: str) -> None:
        """Deletes ``latest`` first; a version that comes in meanwhile stays."""
        with self._reach():
            stored = self._modules().get(name, {})
            for file in sorted(stored, key=lambda file: file != LATEST):
                with suppress(FileNotFoundError):
                    self._fs.rm_file(self._path(name, file))

    def _modules(self) -> dict[str, dict[str, Any]]:
        """Name → path inside the module → what the file system says of that file."""
        found: dict[str, dict[str, Any]] = {}
        for path, info in self._files().items():
            name, _, file = path.removeprefix(self._root).lstrip("/").partition("/")
            if file and NAME.fullmatch(name):
                found.setdefault(name, {})[file] = info
        return found

    def _files(self) -> Mapping[str, Any]:
        self._fs.invalidate_cache()
        if not _lists_by_folder(self._fs):
            try:
                return self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        return self._below(self._root, DEPTH)

    def _below(self, path: str, depth: int) -> dict[str, Any]:
        """All files; fsspec's own walk takes a folder that cannot be listed for an empty one."""
        found: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            for info in self._fs.ls(path, detail=True):
                inner = info["name"].rstrip("/")
                if info["type"] != "directory":
                    found[inner] = info
                elif depth > 1 and inner != path:
                    found |= self._below(inner, depth - 1)
        return found

    def _has_root(self) -> bool:
        try:
            self._fs.info(self._root)
        except FileNotFoundError:
            return False
        return True

    def _pointers(self, names: list[str]) -> dict[str, bytes]:
        paths = {name: self._path(name, LATEST) for name in names}
        read = self._fs.cat(list(paths.values()), on_error="return") if paths else {}
        found = {name: read[path] for name, path in paths.items()}
        for fault in found.values():
            if isinstance(fault, Exception) and not isinstance(fault, FileNotFoundError):
                raise fault
        return {name: text for name, text in found.items() if isinstance(text, bytes)}

    def _write(self, path: str, payload: bytes) -> None:
        try:
            self._fs.pipe_file(path, payload)
        except FileNotFoundError:
            # A file system with real folders wants them first; the root, or bucket, is not ours.
            if not self._has_root():
                raise ConfigError(f"store {self.url} does not exist: make it first") from None
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, payload)

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    @contextmanager
    def _reach(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, LangmodError):
            raise
        except Exception as error:
            # Each file system raises its client library's own exceptions.
            raise Unavailable(f"store {self.url} cannot be reached: {error!r}") from error


def _lists_by_folder(fs: AbstractFileSystem) -> bool:
    """Whether a file system has no way of its own to list everything below a path."""
    kind = type(fs)
    if isinstance(fs, AsyncFileSystem):
        return kind._find is AsyncFileSystem._find  # noqa: SLF001  (what fsspec lets be replaced)
    return kind.find is AbstractFileSystem.find


def _versions(files: Mapping[str, Any]) -> tuple[str, ...]:
    tail = f"/{MANIFEST}"
    digests = [file.removesuffix(tail) for file in files if file.endswith(tail)]
    digests.sort(key=lambda digest: _written(files[digest + tail]), reverse=True)
    return tuple(digests)


def _written(info: Mapping[str, Any]) -> Any:
    return next((info[key] for key in TIMES if info.get(key) is not None), 0)
