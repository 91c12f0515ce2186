"""What numbers were measured on: the machine, the libraries, the commit."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Self

from langmod.config import Frozen
from langmod.digests import SHORT


class Machine(Frozen):
    """Where it was measured."""

    processor: str
    cores: int
    """That this process may use."""
    memory_gib: float
    system: str
    python: str
    load_average: float
    """Load of the last minute when the measuring began: what else the machine was doing."""

    @classmethod
    def here(cls) -> Self:
        """This one, now."""
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(pages / 2**30, 1),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            load_average=round(os.getloadavg()[0], 2),
        )


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of installed libraries."""
    return {name: version(name) for name in libraries}


def commit() -> str:
    """The commit of the source, with ``+`` where files differ from it."""
    try:
        found = _git("rev-parse", "HEAD")
        return found[:SHORT] + ("+" if _git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
