"""How often each identifier is right on texts of a few characters, and what it weighs."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.detection.identifiers import IDENTIFIERS, Identifier, Name, opened
from langmod.config import Frozen, RunConfig, write_atomic
from langmod.errors import UnsureLanguage
from langmod.machine import Machine, commit
from service.text.detection import Choice, Detector
from training.data.sources import Sources, read_sources
from training.models.langid import window

Texts = Sequence[tuple[str, str]]
"""Texts with their tags."""


class Detection(RunConfig):
    """What is asked of which identifiers."""

    name: str
    identifiers: tuple[Name, ...] = ("langmod", "lingua", "py3langid", "fasttext")
    lengths: tuple[int, ...] = (5, 10, 20, 40)
    """Characters at most: whole words from a random place of each sentence."""
    sources: Sources
    threshold: float = 0.5
    """The service's."""
    seed: int = 1


class Footprint(Frozen):
    """What an identifier takes."""

    name: Name
    version: str
    languages: int
    """That it knows."""
    shared: tuple[str, ...]
    """Of those in the texts."""
    installed_mib: float
    resident_mib: float
    """That loading it added to a process."""
    load_seconds: float
    microseconds: float
    """For a text of the greatest length."""


class Accuracy(Frozen):
    """Of two identifiers on the languages that both know, no other being possible."""

    length: int
    rival: Name
    ours: dict[str, float]
    theirs: dict[str, float]


class Served(Frozen):
    """What the service would answer to texts of one language, any of ours being possible."""

    length: int
    language: str
    right: float
    wrong: float
    refused: float


class DetectionResult(Frozen):
    """All figures of one run."""

    experiment: Detection
    machine: Machine
    commit: str
    texts: dict[str, int]
    footprints: tuple[Footprint, ...]
    accuracies: tuple[Accuracy, ...]
    served: tuple[Served, ...]

    def save(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=1) + "\n")


def measure_detection(asked: Detection) -> DetectionResult:
    """Crops the texts, asks every identifier.

    Raises:
        ConfigError: an identifier that is not installed.
        DataError: a source that cannot be read.
    """
    rows = read_sources(asked.sources, asked.seed)
    whole = [(row.texts[0], row.languages[0]) for row in rows]
    cropped = {length: crop(whole, length, asked.seed) for length in asked.lengths}
    identifiers = {name: opened(name) for name in asked.identifiers}
    tags = frozenset(tag for _, tag in whole)
    ours = identifiers["langmod"]
    return DetectionResult(
        experiment=asked,
        machine=Machine.here(),
        commit=commit(),
        texts=dict(sorted(Counter(tag for _, tag in whole).items())),
        footprints=tuple(
            footprint(name, each, tags, cropped[asked.lengths[-1]])
            for name, each in identifiers.items()
        ),
        accuracies=tuple(
            compare(length, texts, name, ours, rival)
            for name, rival in identifiers.items()
            if name != "langmod"
            for length, texts in cropped.items()
        ),
        served=tuple(
            each for length, texts in cropped.items() for each in serve(length, texts, asked)
        ),
    )


def crop(texts: Texts, length: int, seed: int) -> list[tuple[str, str]]:
    """Whole words of a random place of each text."""
    generator = random.Random(seed)
    return [(window(text, length, generator), tag) for text, tag in texts]


def compare(length: int, texts: Texts, name: Name, ours: Identifier, rival: Identifier) -> Accuracy:
    """Both on the languages that both know."""
    both = ours.languages & rival.languages
    shared = [(text, tag) for text, tag in texts if tag in both]
    return Accuracy(
        length=length, rival=name, ours=accuracy(ours, shared), theirs=accuracy(rival, shared)
    )


def accuracy(identifier: Identifier, texts: Texts) -> dict[str, float]:
    """By language, only the languages of the texts being possible."""
    among = sorted({tag for _, tag in texts})
    right: Counter[str] = Counter()
    for text, tag in texts:
        right[tag] += identifier.likeliest(text, among) == tag
    totals = Counter(tag for _, tag in texts)
    return {tag: round(right[tag] / totals[tag], 4) for tag in among}


def serve(length: int, texts: Texts, asked: Detection) -> list[Served]:
    """What the service would answer."""
    from langmod.langid import LanguageIdentifier

    identifier = LanguageIdentifier.load(Path("models/langid"))
    detector = Detector(identifier, asked.threshold)
    choice = Choice(identifier.languages, identifier.languages)
    counts: Counter[tuple[str, str]] = Counter()
    for text, tag in texts:
        counts[tag, verdict(detector, text, tag, choice)] += 1
    totals = Counter(tag for _, tag in texts)
    return [
        Served(
            length=length,
            language=tag,
            right=round(counts[tag, "right"] / total, 4),
            wrong=round(counts[tag, "wrong"] / total, 4),
            refused=round(counts[tag, "refused"] / total, 4),
        )
        for tag, total in sorted(totals.items())
    ]


def verdict(detector: Detector, text: str, tag: str, choice: Choice) -> str:
    """Whether a text's language is found, mistaken, or asked for."""
    try:
        return "right" if detector.detect(text, choice)[0] == tag else "wrong"
    except UnsureLanguage:
        return "refused"


def footprint(name: Name, identifier: Identifier, tags: frozenset[str], texts: Texts) -> Footprint:
    """What an identifier takes, its loading in a process of its own."""
    among = sorted(tags & identifier.languages)
    started = time.process_time()
    for text, _ in texts:
        identifier.likeliest(text, among)
    taken = time.process_time() - started
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        resident, seconds = pool.submit(loading, name).result()
    return Footprint(
        name=name,
        version=identifier.version(),
        languages=len(identifier.languages),
        shared=tuple(among),
        installed_mib=round(identifier.mebibytes(), 1),
        resident_mib=round(resident, 1),
        load_seconds=round(seconds, 2),
        microseconds=round(taken / len(texts) * 1e6, 1),
    )


def loading(name: Name) -> tuple[float, float]:
    """The memory in MiB that loading an identifier adds to this process, and its seconds."""
    before, started = resident_mebibytes(), time.perf_counter()
    kept = IDENTIFIERS[name]()
    kept.likeliest("text", sorted(kept.languages))
    return resident_mebibytes() - before, time.perf_counter() - started


def resident_mebibytes() -> float:
    """Of this process."""
    import os

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
