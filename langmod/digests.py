"""Identity by content: sha256 over files, so that a name never stands for two things."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

SHORT = 12
"""Characters of a digest used in folder names and answers."""


def file_digest(path: Path) -> str:
    """sha256 of one file, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_digest(paths: Iterable[Path]) -> str:
    """sha256 over the names and contents of several files, independent of their order."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda each: each.name):
        total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()
