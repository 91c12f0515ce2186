"""``training study``: every arm with every seed, one after another, kept once they are made.

Each run is a process of its own, forked from a server that has loaded the libraries once: a run
that crashes or leaks takes nothing along and starts from clean random states, as a command of its
own would, without the seconds that loading torch costs every time.
"""

import json
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from langmod.config import RunConfig
from langmod.errors import ConfigError, LangmodError
from langmod.machine import Machine, commit, versions
from langmod.specs import RUN_FILE, SCORES_FILE, Metric
from training.studies.definition import Run, Study
from training.studies.result import LIBRARIES, Failure, RunResult, StudyResult
from training.studies.stages import (
    digests,
    examples_of,
    is_done,
    make_stage,
    out_of,
    read_record,
)

PRELOADED = ["training.modules.module", "training.evaluation.measure"]
LOG = "log.txt"


class StudyFailed(LangmodError):
    """Some runs failed; the others are made and in the result."""

    code = "study_failed"


def run_study(study: Study) -> StudyResult:
    """Makes what is not made yet, collects every score, writes the result.

    Raises:
        ConfigError: settings of any stage that are refused, or unequal steps; nothing is made then.
        StudyFailed: some runs failed; the result is written and lists them.
    """
    shared, runs = study.shared_run(), study.arm_runs()
    check_places([shared, *runs])
    check_equal_steps(study, runs)
    ground = digests(shared, {})
    if problem := make(shared, {}, study.remake):
        raise StudyFailed(f"{shared.folder}: {problem}; see {shared.folder / LOG}")
    failed = []
    for number, run in enumerate(runs, 1):
        problem = make(run, ground, study.remake)
        _tell(f"{study.name} {number}/{len(runs)} {run.name}: {problem or 'made'}")
        if problem:
            failed.append(Failure(run=run.name, problem=problem))
    names = {each.run for each in failed}
    result = collect(study, [run for run in runs if run.name not in names], failed)
    result.save(study.result)
    if failed:
        raise StudyFailed(f"{result}\nthe logs are {study.folder}/<run>/{LOG}")
    return result


def check_places(runs: list[Run]) -> None:
    """Refuses runs that write to one place.

    Raises:
        ConfigError: the first such place.
    """
    owners: dict[Path, str] = {}
    for run in runs:
        for out in map(out_of, run.settings):
            if out in owners:
                raise ConfigError(f"{owners[out]} and {run.name} both write to {out}")
            owners[out] = run.name


def check_equal_steps(study: Study, runs: list[Run]) -> None:
    """Refuses a study whose arms learn from unequal amounts, before anything is made.

    Arms that learn nothing (the bare base, counts of n-grams) stand aside.

    Raises:
        ConfigError: two arms differ in steps or examples, and none says why it may.
    """
    found: dict[str, tuple[int, int]] = {}
    for run in runs:
        each = [examples_of(settings) for settings in run.settings]
        found[run.arm] = (sum(steps for steps, _ in each), sum(count for _, count in each))
    equal = {
        arm: amount
        for arm, amount in found.items()
        if amount[0] and study.arms[arm].unequal is None
    }
    if len(set(equal.values())) > 1:
        listed = ", ".join(f"{arm} {steps} ({count})" for arm, (steps, count) in equal.items())
        raise ConfigError(
            f"{study.name}: arms take unequal steps (and examples): {listed}; make them equal, or "
            "say in an arm's `unequal` why they are not"
        )


def make(run: Run, ground: Mapping[str, str], remake: bool = False) -> str | None:
    """Makes a run in a process of its own; returns what went wrong."""
    if all(map(is_done, run.settings, digests(run, ground).values())):
        return None
    run.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    try:
        with ProcessPoolExecutor(1, mp_context=context) as process:
            return process.submit(make_stages, run, ground, remake).result()
    except BrokenProcessPool:
        return "its process was killed"


def make_stages(run: Run, ground: Mapping[str, str], remake: bool = False) -> str | None:
    """The process of a run: its stages that are not done, all that is printed to its log."""
    from training.loop.processor import keep_memory

    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_memory()
    with (run.folder / LOG).open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        made = digests(run, ground).values()
        for stage, settings, digest in zip(run.stages, run.settings, made, strict=True):
            if not is_done(settings, digest):
                make_stage(stage, settings, digest, remake)
    except Exception as error:
        # Whatever it is, it must not stop the other arms.
        traceback.print_exc()
        return error.message if isinstance(error, LangmodError) else repr(error)
    return None


def _end_with_parent() -> None:
    """A killed study leaves no run behind that would write into the next one's folders."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def collect(study: Study, runs: list[Run], failed: list[Failure]) -> StudyResult:
    """The result of what was made."""
    return StudyResult(
        name=study.name,
        question=study.question,
        source=study.source,
        size=study.size,
        yaml_digest=study.digest,
        split=study.split,
        metrics=study.metrics,
        comparisons=tuple(study.comparisons),
        arms=tuple(study.arms),
        seeds=study.seeds,
        paired=study.paired,
        alpha=study.alpha,
        unequal={name: arm.unequal for name, arm in study.arms.items() if arm.unequal},
        folder=study.folder,
        machine=Machine.here(),
        accelerator=_accelerator(),
        versions=versions(LIBRARIES),
        commit=commit(),
        data=_data([each for run in (study.shared_run(), *runs) for each in run.settings]),
        runs=tuple(_run_result(run, study.split) for run in runs),
        failed=tuple(failed),
    )


def _run_result(run: Run, split: str) -> RunResult:
    """Scores that the stages left, a later stage's in place of an earlier one's of one name."""
    metrics: dict[tuple[str, str | None], Metric] = {}
    seconds, steps, examples, parameters = 0.0, 0, 0, None
    for settings in run.settings:
        out, amount = out_of(settings), examples_of(settings)
        record = read_record(out)
        seconds += record.seconds if record else 0.0
        steps, examples = steps + amount[0], examples + amount[1]
        parameters = _said(out / RUN_FILE).get("trained_parameters", parameters)
        for row in _said(out / SCORES_FILE).get("metrics", ()):
            metric = Metric.model_validate(row)
            if metric.split == split:
                metrics[metric.name, metric.language] = metric
    return RunResult(
        arm=run.arm,
        seed=run.seed,
        seconds=round(seconds, 2),
        steps=steps,
        examples=examples,
        parameters=parameters,
        metrics=tuple(metrics.values()),
    )


def _said(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _data(settings: list[RunConfig]) -> dict[str, str]:
    from training.data.corpus import corpus_digest

    corpora = {found for each in settings if (found := getattr(each, "corpus", None)) is not None}
    return {str(corpus): corpus_digest(corpus) for corpus in sorted(corpora)}


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
