"""``training queue``: a list of runs by value for the product, done one after the other.

A run is a command and the file that is there when it is done. Each resumes by itself from its last
checkpoint, so that the queue may be killed at any time and started again: it takes the first run
that is not done. One queue works in a checkout at a time.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import Field, field_validator

from langmod.config import Frozen, RunConfig
from langmod.errors import ConfigError, LangmodError


class RunFailed(LangmodError):
    """Some runs of a queue ended with an error; what they said is in their logs."""

    code = "run_failed"


class QueuedRun(Frozen):
    """One run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    command: tuple[str, ...]
    """What follows ``python -m``: ``[training, module, training/configs/topic.yaml]``."""
    done: Path
    """The file that is there when the run is finished."""
    about: str = ""
    """What it is for, on one line."""


class QueueConfig(RunConfig):
    """A list of runs, the most valuable first."""

    folder: Path = Path("runs/queue")
    """Where their output goes, a log each."""
    runs: tuple[QueuedRun, ...]

    @field_validator("runs")
    @classmethod
    def _named_once(cls, runs: tuple[QueuedRun, ...]) -> tuple[QueuedRun, ...]:
        counts = Counter(run.name for run in runs)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return runs

    def log(self, run: QueuedRun) -> Path:
        """The output of a run, all its starts one after the other."""
        return self.folder / f"{run.name}.log"

    def lock(self) -> FileLock:
        """Held while a queue works."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")


def run_queue(config: QueueConfig) -> str:
    """Does every run that is not done, in order; one that fails does not stop the others.

    Raises:
        ConfigError: another queue is at work.
        RunFailed: runs that ended with an error; all are named, with the last line they said.
    """
    lock = config.lock()
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"another queue is at work in {config.folder}") from error
    with lock:
        left = [run for run in config.runs if not run.done.exists()]
        failed = [run for run in left if not succeeded(config, run)]
    if failed:
        said = "; ".join(f"{run.name}: {last_line(config.log(run))}" for run in failed)
        raise RunFailed(f"{len(failed)} of {len(left)} runs failed: {said}")
    return queue_status(config)


def succeeded(config: QueueConfig, run: QueuedRun) -> bool:
    """Does a run and says whether its file is there afterwards."""
    began = time.monotonic()
    say(f"{run.name}: begins; output in {config.log(run)}")
    with config.log(run).open("ab") as log:
        command = [sys.executable, "-m", *run.command]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    fine = done.returncode == 0 and run.done.exists()
    state = "done" if fine else f"failed with status {done.returncode}"
    say(f"{run.name}: {state} after {(time.monotonic() - began) / 60:.0f} minutes")
    return fine


def say(line: str) -> None:
    """A line for whoever watches, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def queue_status(config: QueueConfig) -> str:
    """A line a run: done, under way (with the last line it said), failed or left."""
    current = under_way(config)
    width = max(len(run.name) for run in config.runs)
    return "\n".join(f"{run.name:{width}}  {state_of(config, run, current)}" for run in config.runs)


def under_way(config: QueueConfig) -> str | None:
    """The name of the run that a queue is busy with now."""
    lock = config.lock()
    try:
        with lock.acquire(timeout=0):
            return None
    except Timeout:
        logs = {run.name: config.log(run) for run in config.runs if not run.done.exists()}
        started = {name: path.stat().st_mtime for name, path in logs.items() if path.is_file()}
        return max(started, key=started.__getitem__, default=None)


def state_of(config: QueueConfig, run: QueuedRun, current: str | None) -> str:
    """One run's state in words."""
    log = config.log(run)
    if run.done.exists():
        return "done"
    if run.name == current:
        return f"under way: {last_line(log)}"
    if log.is_file():
        return f"interrupted: {last_line(log)}"
    return f"left: {run.about}" if run.about else "left"


def last_line(path: Path) -> str:
    """The last line of a log that holds anything."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096), os.SEEK_SET)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else "nothing said yet"
