"""What experiments with other systems share: systems by name, right answers, what is built once."""

import hashlib
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

import adaptation
import export
import langmod
from benchmarks.experiment import Experiment, Ways
from langmod.digests import SHORT
from langmod.errors import ConfigError

Systems = Mapping[str, Callable[[Any, ExitStack], Ways]]
"""How each system is opened; what it needs to have closed is put on the stack."""


class Baselines(Experiment):
    """Several systems on the same inputs, in turns."""

    systems: tuple[str, ...]
    """The first is what the others are compared with."""
    references: tuple[str, ...] = ()
    """Of the systems: whose answers the others are held against."""
    cache: Path = Path("runs/benchmarks")
    """Where what takes long to build is kept."""

    @abstractmethod
    def known(self) -> Systems:
        """Every system that can be named."""

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        """The systems that are named.

        Raises:
            ConfigError: a system that nobody knows.
        """
        known = self.known()
        if unknown := [name for name in self.systems if name not in known]:
            raise ConfigError(f"no system {', '.join(unknown)}; known: {', '.join(known)}")
        torch.set_num_threads(self.threads)
        return {name: known[name](self, stack) for name in self.systems}


def alike(one: Sequence[object], other: Sequence[object]) -> int:
    """How many answers are those of the other in their places."""
    return sum(a == b for a, b in zip(one, other, strict=True))


def rates(counts: Sequence[int], times: Sequence[float]) -> tuple[float, ...]:
    """How many a second, from how many there were in each of so many milliseconds."""
    return tuple(round(1e3 * n / each, 3) for n, each in zip(counts, times, strict=True))


def kept(folder: Path, build: Callable[[Path], None]) -> Path:
    """A folder, with what is built in it when it is not there yet."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            draft = Path(name) / folder.name
            draft.mkdir()
            build(draft)
            draft.rename(folder)
    return folder


def code() -> str:
    """A name that differs when what makes our graphs was changed."""
    digest = hashlib.sha256()
    for package in (langmod, adaptation, export):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:SHORT]
