"""Runs rivals: every system in turn on the same batch, as often as the experiment says."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
import yaml

from benchmarks.experiment import EncoderRivals, Rivals, Trial
from benchmarks.result import Circumstances, graph_spec
from benchmarks.rivals.encoders import ENCODERS
from benchmarks.rivals.random_base import base_of
from benchmarks.rivals.translators import TRANSLATORS, Checkpoint, Translate
from benchmarks.side_by_side import (
    EncoderPoint,
    EncoderRivalsResult,
    RivalPoint,
    RivalRun,
    RivalsResult,
)
from benchmarks.slots_cost import WORDS
from benchmarks.turns import in_turns
from benchmarks.workload import SENTENCES, text_of
from langmod.errors import ConfigError
from langmod.machine import Machine, commit, versions
from service.session import Array

LIBRARIES = ("ctranslate2", "optimum", "optimum-onnx", "torch", "transformers")


def measure_rivals(asked: Rivals) -> RivalsResult:
    """Every batch by every system; who begins changes with each repetition.

    Raises:
        ConfigError: a system, or a language without sentences, that nobody knows.
    """
    known(asked.systems, TRANSLATORS)
    torch.set_num_threads(asked.threads)
    own = base_of(asked)
    circumstances = of_base(own, own.base)
    with ExitStack() as stack:
        opened = {name: stack.enter_context(TRANSLATORS[name](own)) for name in asked.systems}
        points = [
            point
            for rows, beams in asked.batches
            for point in _points(own, opened, texts_of(asked, rows), beams)
        ]
    return RivalsResult(experiment=asked, circumstances=circumstances, points=tuple(points))


def of_base(asked: Trial, base: str) -> Circumstances:
    """With the versions of the rivals."""
    found = Circumstances.now([graph_spec(asked.models, base, asked.precision)])
    return found.model_copy(update={"versions": found.versions | versions(LIBRARIES)})


def measure_encoders(asked: EncoderRivals) -> EncoderRivalsResult:
    """Every batch by every system.

    Raises:
        ConfigError: a system that nobody knows.
    """
    names = dict.fromkeys([*asked.systems, *asked.references])
    known(names, ENCODERS)
    circumstances = Circumstances(
        machine=Machine.here(),
        versions=versions((*LIBRARIES, "langmod", "onnxruntime-gpu", "peft", "adapters")),
        commit=commit(),
        bases=(),
    )
    torch.set_num_threads(asked.threads)
    points = []
    with ExitStack() as stack:
        opened = {name: stack.enter_context(ENCODERS[name](asked)) for name in names}
        for rows, tokens in asked.batches:
            ids = np.random.default_rng(asked.seed).integers(5, WORDS, (rows, tokens))
            wanted = [row % asked.modules for row in range(rows)]
            right = [opened[name](ids, wanted) for name in asked.references]
            calls = {name: partial(opened[name], ids, wanted) for name in asked.systems}
            found, times = in_turns(calls, asked.repetitions)
            points += [
                EncoderPoint(
                    system=name,
                    rows=rows,
                    tokens=tokens,
                    milliseconds=tuple(times[name]),
                    difference=_difference(found[name], right["bare" in name]),
                )
                for name in asked.systems
            ]
    return EncoderRivalsResult(experiment=asked, circumstances=circumstances, points=tuple(points))


def _difference(found: Array, right: Array) -> float:
    return float(f"{np.abs(found - right).max() / np.abs(right).max():.3g}")


def known(names: Iterable[str], systems: Mapping[str, object]) -> None:
    """Checks the names of systems.

    Raises:
        ConfigError: a system that nobody knows.
    """
    unknown = [name for name in names if name not in systems]
    if unknown:
        raise ConfigError(f"no system {', '.join(unknown)}; known: {', '.join(systems)}")


def texts_of(asked: Rivals, rows: int) -> list[str]:
    """The source language's sentences, as many as a batch has.

    Raises:
        ConfigError: there are none in it.
    """
    sentences = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    if asked.source not in sentences:
        raise ConfigError(f"{asked.source}: {SENTENCES.name} has {', '.join(sentences)}")
    return [text_of(sentences[asked.source], place, None) for place in range(rows)]


def _points(
    asked: Rivals, opened: Mapping[str, Translate], texts: Sequence[str], beams: int
) -> list[RivalPoint]:
    calls = {name: partial(translate, texts, beams) for name, translate in opened.items()}
    first, runs = in_turns(calls, asked.repetitions)
    last = first[asked.systems[-1]]
    checkpoint = Checkpoint.of(asked)
    # Random ids read as text are not the ids that were written. All are cut at the same length,
    # with a word where the end would be.
    given = len(texts) * (asked.most_tokens + 1) if asked.random else None
    tokens = {name: given or checkpoint.tokens(found) for name, found in first.items()}
    return [
        RivalPoint(
            system=name,
            rows=len(texts),
            beams=beams,
            runs=tuple(RivalRun(milliseconds=each, tokens=tokens[name]) for each in runs[name]),
            alike=alike(first[name], last),
        )
        for name in asked.systems
    ]


def alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many texts are those of the other in their places."""
    return sum(a == b for a, b in zip(one, other, strict=True))
