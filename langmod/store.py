"""The store of one base: published modules, immutable, named by digest.

Export publishes here while services read: ``<name>/<digest>/{module.json, slots.safetensors}``,
with ``tokenizer.json`` where a module brings a vocabulary, and ``<name>/latest`` says which digest
serves. The format and every check are here; the files lie in a ``langmod.storage``.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from langmod.digests import SHORT
from langmod.errors import BadRequest, BrokenModule, UnknownModule
from langmod.specs import ModuleManifest, Vocabulary
from langmod.storage import (
    LATEST,
    MANIFEST,
    TENSORS,
    TOKENIZER,
    Storage,
    StoredModule,
    open_storage,
)
from langmod.tensor_file import described, faults_of, read, written

__all__ = ["LATEST", "MANIFEST", "TENSORS", "TOKENIZER", "Module", "ModuleStore", "pointed_at"]


@dataclass(frozen=True, eq=False)
class Module:
    """A published module in memory, checked against its digest."""

    manifest: ModuleManifest
    digest: str
    tensors: Mapping[str, np.ndarray]
    """``BankSpec.tensor`` → what one slot of that bank takes."""
    tokenizer: bytes | None = None
    """The ``tokenizer.json`` of a module with a vocabulary of its own."""

    @cached_property
    def key(self) -> str:
        """``name@digest``: one version of one module, for good."""
        return f"{self.manifest.name}@{self.digest}"

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all its tensors, and of its tokenizer."""
        return sum(tensor.nbytes for tensor in self.tensors.values()) + len(self.tokenizer or b"")


class ModuleStore:
    """Reads and writes the modules of one base; safe with many readers and many writers."""

    def __init__(self, place: Path | str | Storage) -> None:
        """Opens a folder, a URL, or a storage.

        Raises:
            ConfigError: no such kind of URL, or the package that reads it is not installed.
        """
        self.storage = place if isinstance(place, Storage) else open_storage(place)

    def publish(
        self,
        manifest: ModuleManifest,
        tensors: Mapping[str, np.ndarray],
        tokenizer: bytes | None = None,
    ) -> str:
        """Puts one version in place and points ``latest`` at it; returns its digest.

        ``tokenizer`` is there exactly when the manifest has a ``vocabulary``. The manifest's
        ``tensors`` and sha256 sums are filled in here from what is written. A reader sees the
        version before or this one, never a part of it.

        Raises:
            BrokenModule: a tensor is neither float32 nor float16, or not finite; a vocabulary
                without its tokenizer.
            Unavailable: the store cannot be reached.
        """
        payload = written(tensors)
        files = {TENSORS: payload} | ({TOKENIZER: tokenizer} if tokenizer is not None else {})
        sealed = manifest.model_copy(
            update={
                "tensors": described(tensors),
                "sha256": hashlib.sha256(payload).hexdigest(),
                "vocabulary": _sealed_vocabulary(manifest, tokenizer),
            }
        )
        _refuse(sealed.name, faults_of(sealed, tensors))
        text = (sealed.model_dump_json(indent=2) + "\n").encode()
        digest = hashlib.sha256(text).hexdigest()[:SHORT]
        with self.storage.writing():
            if not self._intact(sealed.name, digest):
                # The manifest comes last: a version that has one is whole.
                self.storage.put(sealed.name, digest, files | {MANIFEST: text})
            self.storage.point(sealed.name, digest)
        return digest

    def remove(self, name: str) -> None:
        """Takes a module with all its versions away.

        Raises:
            UnknownModule: no such module.
        """
        self._pointer(name)
        with self.storage.writing():
            self.storage.remove(name)

    def rollback(self, name: str, digest: str | None = None) -> str:
        """Points ``latest`` at another published version, else at the one before it.

        Raises:
            UnknownModule: no such module or version.
            BrokenModule: that version is damaged.
            BadRequest: there is no version before.
        """
        digest = digest or self.previous(name)
        self._pointer(name)
        with self.storage.writing():
            self.load(name, digest)
            self.storage.point(name, digest)
        return digest

    def list_modules(self) -> Mapping[str, StoredModule]:
        """What lies there of every published module, unchecked, in one look."""
        return self.storage.list_modules()

    def names(self) -> list[str]:
        """Every published module, in order of name."""
        return sorted(self.list_modules())

    def versions(self, name: str) -> list[str]:
        """Every digest of a published module, newest first."""
        stored = self.list_modules().get(name)
        return list(stored.versions) if stored else []

    def latest(self, name: str) -> str:
        """The digest that serves requests for a module.

        Raises:
            UnknownModule: no such module.
            BrokenModule: its ``latest`` file does not hold a digest.
        """
        return pointed_at(name, self._pointer(name))

    def previous(self, name: str) -> str:
        """The version that was published before the one that serves.

        Raises:
            UnknownModule: no such module.
            BadRequest: there is none.
        """
        latest, versions = self.latest(name), self.versions(name)
        older = versions[versions.index(latest) + 1 :] if latest in versions else versions
        if not older:
            raise BadRequest(
                f"module {name!r} has no version before {latest}; it has {', '.join(versions)}"
            )
        return older[0]

    def manifest(self, name: str, digest: str) -> ModuleManifest:
        """The manifest of one version, checked against its digest.

        Raises:
            UnknownModule: no such version.
            BrokenModule: the manifest is missing, damaged or not what its digest says.
        """
        if not _is_digest(digest):
            raise self._absent(name, digest, MANIFEST)
        manifest = ModuleManifest.parse(self.verified(name, digest, MANIFEST, digest), MANIFEST)
        if manifest.name != name:
            raise BrokenModule(f"module {name!r}: {MANIFEST} is of module {manifest.name!r}")
        return manifest

    def load(self, name: str, digest: str | None = None) -> Module:
        """One version with its tensors, ``latest`` unless a digest is given.

        Raises:
            UnknownModule: no such module or version.
            BrokenModule: a file is missing, damaged, not safetensors, or not what the digest says.
        """
        digest = digest or self.latest(name)
        manifest = self.manifest(name, digest)
        payload = self.verified(name, digest, TENSORS, manifest.sha256)
        try:
            tensors = read(payload)
        except ValueError as error:
            raise BrokenModule(f"module {name!r}: {TENSORS} is no safetensors: {error}") from error
        _refuse(name, faults_of(manifest, tensors))
        own = manifest.vocabulary
        tokenizer = self.verified(name, digest, TOKENIZER, own.sha256) if own else None
        return Module(manifest, digest, tensors, tokenizer)

    def look(self) -> None:
        """Makes the next reading a fresh one, where readings are kept for a while; here none is."""

    def changed(self) -> int | None:
        """Differs when anything was published, None where that cannot be told: read again."""
        return self.storage.changed()

    def stamp(self, name: str, digest: str) -> object:
        """A value that changes when the files of one version are replaced."""
        return self.storage.stamp(name, digest)

    def verified(self, name: str, digest: str, file: str, seal: str) -> bytes:
        """Reads a file whose sha256 begins with the seal.

        Raises:
            UnknownModule: no such version, or no such file in it.
            BrokenModule: the file holds something else.
        """
        payload = self._read(name, digest, file)
        found = hashlib.sha256(payload).hexdigest()
        if not found.startswith(seal):
            raise BrokenModule(
                f"module {name!r}: {file} has digest {found[:SHORT]}, it was sealed with "
                f"{seal[:SHORT]}; publish the module again"
            )
        return payload

    def _read(self, name: str, digest: str, file: str) -> bytes:
        self._check(name)
        try:
            return self._fetch(name, digest, file)
        except FileNotFoundError:
            absent = self._absent(name, digest, file)
        if isinstance(absent, BrokenModule):
            # Or it was removed and published again in between: the second look tells.
            with suppress(FileNotFoundError):
                return self._fetch(name, digest, file)
        raise absent

    def _fetch(self, name: str, digest: str, file: str) -> bytes:
        try:
            return self.storage.read(name, digest, file)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BrokenModule(f"module {name!r}: {file} cannot be read: {error}") from error

    def _absent(self, name: str, digest: str, file: str) -> BrokenModule | UnknownModule:
        """Why a file is not there: its version never was, or is gone by now, or is damaged."""
        versions = self.versions(name)
        if digest in versions or self._pointer(name).strip() == digest.encode():
            return BrokenModule(f"module {name!r}: {file} of {digest} is missing")
        return UnknownModule(f"{name}@{digest}", [f"{name}@{each}" for each in versions])

    def _intact(self, name: str, digest: str) -> bool:
        try:
            # A new version is found out by one read; to say why it is unknown takes a listing.
            self._fetch(name, digest, MANIFEST)
            self.load(name, digest)
        except (FileNotFoundError, UnknownModule, BrokenModule):
            return False
        return True

    def _pointer(self, name: str) -> bytes:
        self._check(name)
        try:
            return self.storage.pointer(name)
        except FileNotFoundError:
            raise UnknownModule(name, self.names()) from None
        except OSError as error:
            raise BrokenModule(f"module {name!r}: {LATEST} cannot be read: {error}") from error

    def _check(self, name: str) -> None:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise UnknownModule(name, self.names())


def pointed_at(name: str, latest: bytes) -> str:
    """The digest in a module's pointer.

    Raises:
        BrokenModule: it holds none.
    """
    text = latest.decode("ascii", "replace").strip()
    if not _is_digest(text):
        raise BrokenModule(f"module {name!r}: {LATEST} holds {text[:40]!r}, no digest")
    return text


def _is_digest(text: str) -> bool:
    return len(text) == SHORT and set(text) <= set("0123456789abcdef")


def _sealed_vocabulary(manifest: ModuleManifest, tokenizer: bytes | None) -> Vocabulary | None:
    """The manifest's vocabulary with the sha256 of its tokenizer."""
    own = manifest.vocabulary
    if own is not None and tokenizer is not None:
        return own.model_copy(update={"sha256": hashlib.sha256(tokenizer).hexdigest()})
    if own is not None:
        raise BrokenModule(f"module {manifest.name!r}: {TOKENIZER} of its vocabulary is missing")
    if tokenizer is not None:
        raise BrokenModule(f"module {manifest.name!r}: {TOKENIZER} is of no vocabulary")
    return None


def _refuse(name: str, faults: list[str]) -> None:
    if faults:
        raise BrokenModule(f"module {name!r}: {'; '.join(faults)}", faults=faults)
