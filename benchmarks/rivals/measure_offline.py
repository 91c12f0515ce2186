"""Runs fillers of masks and translators of a corpus, each with its best settings, in turns."""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import torch
import yaml

from benchmarks.experiment import BackTranslation, FillMaskRivals
from benchmarks.result import graph_spec
from benchmarks.rivals.back_translators import BACK_TRANSLATORS, Translate
from benchmarks.rivals.fill_masks import FILLERS, Texts
from benchmarks.rivals.measure import alike, known, of_base
from benchmarks.rivals.translators import SPECIAL, Checkpoint
from benchmarks.side_by_side import (
    BackTranslationPoint,
    BackTranslationResult,
    ChunkRun,
    FillMaskPoint,
    FillMaskResult,
)
from benchmarks.turns import fastest, in_turns
from benchmarks.workload import SENTENCES, text_of
from langmod.errors import ConfigError
from training.data.corpus import read_text


def measure_fillers(asked: FillMaskRivals) -> FillMaskResult:
    """Every batch by every system; settings are chosen anew for each batch.

    Raises:
        ConfigError: a system, or a language without sentences, that nobody knows.
    """
    known((*asked.systems, asked.reference), FILLERS)
    circumstances = of_base(asked, asked.base)
    torch.set_num_threads(asked.threads)
    points: list[FillMaskPoint] = []
    with ExitStack() as stack:
        opened = {name: stack.enter_context(FILLERS[name](asked)) for name in asked.systems}
        for rows in asked.rows:
            texts = masked_texts(asked, rows)
            ways = {
                name: {key: partial(way, texts) for key, way in own.items()}
                for name, own in opened.items()
            }
            best = {name: fastest(own) for name, own in ways.items()}
            calls = {name: ways[name][best[name]] for name in asked.systems}
            found, times = in_turns(calls, asked.repetitions)
            first = {name: [words[0].strip() for words in found[name]] for name in asked.systems}
            points += [
                FillMaskPoint(
                    system=name,
                    rows=rows,
                    settings=best[name],
                    milliseconds=tuple(times[name]),
                    alike=alike(first[name], first[asked.reference]),
                )
                for name in asked.systems
            ]
    return FillMaskResult(experiment=asked, circumstances=circumstances, points=tuple(points))


def masked_texts(asked: FillMaskRivals, rows: int) -> Texts:
    """Rows of each language in turn, with one mask each.

    Raises:
        ConfigError: a language without sentences.
    """
    sentences = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    missing = [each for each in asked.languages if each not in sentences]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: {SENTENCES.name} has {', '.join(sentences)}")
    count, mask = len(asked.languages), graph_spec(asked.models, asked.base, asked.precision).base
    return [
        (language, text_of(sentences[language], row // count, mask.mask_token))
        for row in range(rows)
        for language in [asked.languages[row % count]]
    ]


def measure_back_translation(asked: BackTranslation) -> BackTranslationResult:
    """Every chunk by every system; who begins changes with each chunk.

    Raises:
        ConfigError: a system that nobody knows, or too little text.
    """
    known((*asked.systems, asked.reference), BACK_TRANSLATORS)
    circumstances = of_base(asked, asked.base)
    tried, *chunks = chunks_of(asked)
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(BACK_TRANSLATORS[name](asked)) for name in asked.systems
        }
        best = {
            name: fastest({key: partial(way, tried) for key, way in ways.items()})
            for name, ways in opened.items()
        }
        calls = {name: opened[name][best[name]] for name in asked.systems}
        found, seconds = _in_turns(calls, chunks)
    checkpoint = Checkpoint(asked.models / asked.base, asked.pivot, asked.language)
    points = [
        BackTranslationPoint(
            system=name,
            settings=best[name],
            runs=tuple(
                ChunkRun(seconds=own, sentences=len(texts), tokens=checkpoint.tokens(texts))
                for own, texts in zip(seconds[name], found[name], strict=True)
            ),
            alike=sum(map(alike, found[name], found[asked.reference])),
        )
        for name in asked.systems
    ]
    return BackTranslationResult(
        experiment=asked, circumstances=circumstances, points=tuple(points)
    )


def chunks_of(asked: BackTranslation) -> list[list[str]]:
    """Different sentences of the corpus: some to try settings on, then every chunk.

    Raises:
        ConfigError: there are not as many.
    """
    lines = sorted(set(read_text(asked.corpus, asked.language, "train")))
    random.Random(asked.seed).shuffle(lines)
    read = Checkpoint(asked.models / asked.base, asked.language, asked.pivot).read
    wanted = asked.tried + asked.sentences
    # Not all are read: counting the tokens of a large corpus takes long.
    looked_at = lines[: 2 * wanted]
    rows = zip(looked_at, read(looked_at), strict=True)
    texts = [line for line, ids in rows if len(ids) <= asked.most_tokens + SPECIAL][:wanted]
    if len(texts) < wanted:
        raise ConfigError(f"{asked.corpus}: {len(texts)} sentences of {wanted} are short enough")
    starts = range(asked.tried, wanted, asked.chunk)
    return [texts[: asked.tried], *(texts[start : start + asked.chunk] for start in starts)]


def _in_turns(
    calls: Mapping[str, Translate], chunks: Sequence[list[str]]
) -> tuple[dict[str, list[list[str]]], dict[str, list[float]]]:
    """Translations and seconds of every chunk by every system."""
    names = list(calls)
    found: dict[str, list[list[str]]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number, texts in enumerate(chunks):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            begun = time.perf_counter()
            found[name].append(calls[name](texts))
            seconds[name].append(round(time.perf_counter() - begun, 4))
    return found, seconds
