"""One stage of a run: made once, known by its settings and by all that was made before it."""

import hashlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from langmod.config import Frozen, RunConfig, write_atomic
from langmod.errors import ConfigError
from training.studies.definition import Run, Stage


class StageRecord(Frozen):
    """``<out>.stage.json``: what lies in ``out``, and whether it is whole."""

    command: str
    digest: str
    """sha256 over the settings of this stage and of those it stands on."""
    done: bool = False
    seconds: float = 0.0
    """Seconds of the attempt that ended it; one that went on from a checkpoint counts its own
    part."""


def out_of(settings: RunConfig) -> Path:
    """Where a command writes.

    Raises:
        ConfigError: its settings name no such place.
    """
    for name in ("out", "output"):
        if isinstance(found := getattr(settings, name, None), Path):
            return found
    raise ConfigError(f"{type(settings).__name__} names no place in `out`; a stage must")


def record_file(out: Path) -> Path:
    """Beside the output, which its command may replace as a whole."""
    return out.with_name(f"{out.name}.stage.json")


def read_record(out: Path) -> StageRecord | None:
    """What is known of an output; None: no study began it."""
    file = record_file(out)
    return StageRecord.model_validate_json(file.read_text("utf-8")) if file.is_file() else None


def write_record(out: Path, record: StageRecord) -> None:
    """Replaces what is known."""
    record_file(out).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(record_file(out), record.model_dump_json(indent=2) + "\n")


def digests(run: Run, known: Mapping[str, str]) -> dict[str, str]:
    """Output of each stage of a run → its digest, over its settings and what they read.

    ``known`` are outputs that were made before. A stage reads those that its settings name, so that
    another vocabulary makes other bases, and leaves alone what does not stand on it.
    """
    found, made = dict(known), {}
    for stage, settings in zip(run.stages, run.settings, strict=True):
        text = settings.model_dump_json()
        below = sorted(digest for out, digest in found.items() if _names(text, out))
        whole = "\n".join([stage.command, text, *below])
        out = str(out_of(settings))
        found[out] = made[out] = hashlib.sha256(whole.encode()).hexdigest()
    return made


def _names(settings: str, out: str) -> bool:
    """Whether settings name an output, or by ``{language}`` all outputs of its folder."""
    folder = out.rpartition("/")[0]
    return any(name in settings for name in (f'"{out}"', f'"{out}/', f'"{folder}/{{language}}'))


def is_done(settings: RunConfig, digest: str) -> bool:
    """Whether a stage was made to its end with these settings, on what lies before it now."""
    known = read_record(out_of(settings))
    return known is not None and known.done and known.digest == digest


def make_stage(stage: Stage, settings: RunConfig, digest: str, remake: bool = False) -> None:
    """Makes a stage that is not done; a killed attempt goes on from its last checkpoint.

    Raises:
        ConfigError: something lies in ``out`` that no study made, or that other settings made to
            its end and ``remake`` does not let go.
    """
    out = out_of(settings)
    known = read_record(out)
    if known is None and out.exists():
        raise ConfigError(f"{out} was made by no study; remove it or choose another `out`")
    if known is not None and known.digest != digest:
        if known.done and not remake:
            raise ConfigError(
                f"{out} was made with other settings, or on what other settings made; give "
                "remake=true to make it again, or the study another name"
            )
        clear(settings)
    record = StageRecord(command=stage.command, digest=digest)
    write_record(out, record)
    started = time.perf_counter()
    stage.make(settings)
    seconds = round(time.perf_counter() - started, 2)
    write_record(out, record.model_copy(update={"done": True, "seconds": seconds}))


def clear(settings: RunConfig) -> None:
    """Removes the output of a stage, and the checkpoints it would go on from."""
    for place in (out_of(settings), getattr(settings, "run_folder", None)):
        if place is not None and place.is_dir():
            shutil.rmtree(place)
        elif place is not None:
            place.unlink(missing_ok=True)


def examples_of(settings: RunConfig) -> tuple[int, int]:
    """Steps of a stage, and the examples (blocks or pairs) that they read; zeros where none."""
    found = getattr(settings, "optimisation", None)
    if found is None:
        return 0, 0
    return found.steps, found.steps * found.batch_size * found.gradient_accumulation
