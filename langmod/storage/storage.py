"""What every place of a store can do; it keeps files and knows nothing of what is in them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

MANIFEST = "module.json"
TENSORS = "slots.safetensors"
TOKENIZER = "tokenizer.json"
"""Only in versions that bring a vocabulary."""
LATEST = "latest"


@dataclass(frozen=True)
class StoredModule:
    """What a place holds of one module that has a pointer."""

    latest: bytes
    """The pointer as it lies there, unchecked."""
    versions: tuple[str, ...]
    """Digests of the versions that have a manifest, newest first."""
    state: object = None
    """Differs when a file of the module was replaced."""


class Storage(ABC):
    """Files of versions, written once, and for each module a pointer to the one that serves.

    Writers bring the tensors, then the manifest, then the pointer, each file in one step; so a
    reader that follows the pointer finds a whole version without any lock.

    Every method raises Unavailable when the place cannot be reached.
    """

    @abstractmethod
    def list_modules(self) -> dict[str, StoredModule]:
        """Every module that has a pointer, in one look; empty when there is no such place yet."""

    @abstractmethod
    def pointer(self, name: str) -> bytes:
        """The pointer of a module.

        Raises:
            FileNotFoundError: the module has none.
        """

    @abstractmethod
    def read(self, name: str, digest: str, file: str) -> bytes:
        """One file of one version.

        Raises:
            FileNotFoundError: no such file.
        """

    @abstractmethod
    def put(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """Writes the files of a version in their order, over those that lie there."""

    @abstractmethod
    def point(self, name: str, digest: str) -> None:
        """Replaces a module's pointer in one step."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Takes a module's pointer away, then the versions that lay there before."""

    def writing(self) -> AbstractContextManager[object]:
        """Keeps other writers out where the place can do that; readers never wait."""
        return nullcontext()

    def changed(self) -> int | None:
        """Differs when anything was published, None where that cannot be told: look again."""
        return None

    def stamp(self, name: str, digest: str) -> object:
        """Differs when the files of one version were replaced."""
        return None
