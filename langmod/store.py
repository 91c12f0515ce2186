"""The folder store of one base: published modules, immutable, named by digest.

Export publishes here while services read: ``<folder>/<name>/<digest>/{module.json,
slots.safetensors}``, and ``<folder>/<name>/latest`` says which digest serves.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as dump_tensors

from langmod.config import write_atomic
from langmod.digests import SHORT
from langmod.errors import BrokenModule, UnknownModule
from langmod.specs import ModuleManifest, TensorSpec

MANIFEST = "module.json"
TENSORS = "slots.safetensors"
LATEST = "latest"
DTYPES = ("float32", "float16")


@dataclass(frozen=True, eq=False)
class Module:
    """A published module in memory, checked against its digest."""

    manifest: ModuleManifest
    digest: str
    tensors: Mapping[str, np.ndarray]
    """``BankSpec.tensor`` → what one slot of that bank takes."""

    @cached_property
    def key(self) -> str:
        """``name@digest``: one version of one module, for good."""
        return f"{self.manifest.name}@{self.digest}"

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class ModuleStore:
    """Reads and writes the modules of one base; safe with many readers and one writer a module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publish(self, manifest: ModuleManifest, tensors: Mapping[str, np.ndarray]) -> str:
        """Puts one version in place and points ``latest`` at it; returns its digest.

        The manifest's ``sha256`` and ``tensors`` are filled in here from what is written. A reader
        sees the version before or this one, never a part of it.

        Raises:
            BrokenModule: a tensor is neither float32 nor float16, or not finite.
        """
        payload = dump_tensors({name: np.ascontiguousarray(t) for name, t in tensors.items()})
        sealed = manifest.model_copy(
            update={"tensors": _describe(tensors), "sha256": hashlib.sha256(payload).hexdigest()}
        )
        _refuse(sealed.name, _tensor_faults(sealed, tensors))
        text = (sealed.model_dump_json(indent=2) + "\n").encode()
        digest = hashlib.sha256(text).hexdigest()[:SHORT]
        version = self.folder / sealed.name / digest
        version.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".publish-", dir=self.folder))
        try:
            _write(draft / TENSORS, payload)
            _write(draft / MANIFEST, text)
            draft.chmod(0o755)
            if not self._intact(sealed.name, digest):
                shutil.rmtree(version, ignore_errors=True)
                draft.rename(version)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._point(sealed.name, digest)
        return digest

    def remove(self, name: str) -> None:
        """Takes a module with all its versions away.

        Raises:
            UnknownModule: no such module.
        """
        self.latest(name)
        (self.folder / name / LATEST).unlink()
        grave = Path(tempfile.mkdtemp(prefix=".remove-", dir=self.folder))
        (self.folder / name).rename(grave / name)
        shutil.rmtree(grave)
        os.utime(self.folder)

    def rollback(self, name: str, digest: str) -> None:
        """Points ``latest`` at another published version of the module.

        Raises:
            UnknownModule: no such module or version.
            BrokenModule: that version is damaged.
        """
        self.load(name, digest)
        self._point(name, digest)

    def names(self) -> list[str]:
        """Every published module, in order of name."""
        if not self.folder.is_dir():
            return []
        return sorted(
            each.name
            for each in self.folder.iterdir()
            if not each.name.startswith(".") and (each / LATEST).is_file()
        )

    def versions(self, name: str) -> list[str]:
        """Every digest of a module that can be served, newest first."""
        folders = [each.parent for each in (self.folder / name).glob(f"*/{MANIFEST}")]
        folders.sort(key=lambda each: each.stat().st_mtime_ns, reverse=True)
        return [each.name for each in folders]

    def latest(self, name: str) -> str:
        """The digest that serves requests for a module.

        Raises:
            UnknownModule: no such module.
            BrokenModule: its ``latest`` file does not hold a digest.
        """
        try:
            text = (self._module(name) / LATEST).read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownModule(name, self.names()) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenModule(f"module {name!r}: {LATEST} cannot be read: {error}") from error
        if len(text) != SHORT or not set(text) <= set("0123456789abcdef"):
            raise BrokenModule(f"module {name!r}: {LATEST} holds {text[:40]!r}, no digest")
        return text

    def manifest(self, name: str, digest: str) -> ModuleManifest:
        """The manifest of one version, checked against its digest.

        Raises:
            UnknownModule: no such version.
            BrokenModule: the manifest is missing, damaged or not what its digest says.
        """
        folder = self._module(name) / digest
        if not folder.is_dir():
            known = [f"{name}@{each}" for each in self.versions(name)]
            raise UnknownModule(f"{name}@{digest}", known)
        path = folder / MANIFEST
        text = _read(name, path)
        if (found := hashlib.sha256(text).hexdigest()[:SHORT]) != digest:
            raise BrokenModule(
                f"module {name!r}: {MANIFEST} has digest {found}, its folder says {digest}; "
                "publish the module again"
            )
        manifest = ModuleManifest.load(path)
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
        payload = _read(name, self.folder / name / digest / TENSORS)
        if hashlib.sha256(payload).hexdigest() != manifest.sha256:
            raise BrokenModule(
                f"module {name!r}: {TENSORS} is not the file {MANIFEST} was sealed with; "
                "publish the module again"
            )
        try:
            tensors = parse_tensors(payload)
        except (SafetensorError, KeyError, ValueError) as error:
            raise BrokenModule(f"module {name!r}: {TENSORS} is no safetensors: {error}") from error
        _refuse(name, _tensor_faults(manifest, tensors))
        return Module(manifest, digest, tensors)

    def stamp(self, name: str, digest: str) -> tuple[int, ...]:
        """A value that changes when the files of one version are replaced."""
        files = [self.folder / name / digest / file for file in (MANIFEST, TENSORS)]
        states = [file.stat() for file in files if file.is_file()]
        return tuple(number for each in states for number in (each.st_mtime_ns, each.st_ino))

    def _intact(self, name: str, digest: str) -> bool:
        try:
            self.load(name, digest)
        except (UnknownModule, BrokenModule):
            return False
        return True

    def _module(self, name: str) -> Path:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise UnknownModule(name, self.names())
        return self.folder / name

    def _point(self, name: str, digest: str) -> None:
        write_atomic(self.folder / name / LATEST, digest + "\n")
        os.utime(self.folder)


def _describe(tensors: Mapping[str, np.ndarray]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec.model_construct(name=name, dtype=str(tensor.dtype), shape=tensor.shape)
        for name, tensor in sorted(tensors.items())
    )


def _tensor_faults(manifest: ModuleManifest, tensors: Mapping[str, np.ndarray]) -> list[str]:
    declared = {spec.name: spec for spec in manifest.tensors}
    faults = [f"{name} is missing" for name in sorted(declared.keys() - tensors.keys())]
    faults += [f"{name} is not in {MANIFEST}" for name in sorted(tensors.keys() - declared.keys())]
    for name in sorted(declared.keys() & tensors.keys()):
        spec, tensor = declared[name], tensors[name]
        if str(tensor.dtype) not in DTYPES:
            faults.append(f"{name} is {tensor.dtype}, allowed {' or '.join(DTYPES)}")
        elif (str(tensor.dtype), tensor.shape) != (spec.dtype, spec.shape):
            faults.append(
                f"{name} is {tensor.dtype} {list(tensor.shape)}, "
                f"{MANIFEST} says {spec.dtype} {list(spec.shape)}"
            )
        elif not np.isfinite(tensor).all():
            faults.append(f"{name} holds numbers that are not finite")
    return faults


def _refuse(name: str, faults: list[str]) -> None:
    if faults:
        raise BrokenModule(f"module {name!r}: {'; '.join(faults)}", faults=faults)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenModule(
            f"module {name!r}: {path.name} cannot be read: {error.strerror}"
        ) from error


def _write(path: Path, payload: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(payload)
        stream.flush()
        os.fsync(stream.fileno())
