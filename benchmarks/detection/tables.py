"""The tables of a detection result, written between marks of a page."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.detection.measure import (
    Accuracy,
    Detection,
    DetectionResult,
    Served,
    measure_detection,
)
from benchmarks.tables import RESULTS
from langmod.config import write_atomic
from langmod.errors import ConfigError
from langmod.languages import english_name

PAGE = Path("docs/language-detection.md")
MARK = "<!-- detection: {} -->"


def keep_detection(yaml: Path, overrides: Sequence[str]) -> Path:
    """Measures what a yaml asks for, keeps the result and writes its tables; returns their page."""
    result = measure_detection(Detection.load(yaml, overrides))
    result.save(RESULTS / "detection" / f"{result.experiment.name}.json")
    write_tables(result, PAGE)
    return PAGE


def write_tables(result: DetectionResult, page: Path) -> None:
    """Puts the tables of a result between the marks of a page.

    Raises:
        ConfigError: the page has no such marks.
    """
    begin, end = MARK.format("begin"), MARK.format("end")
    text = page.read_text("utf-8")
    pattern = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    if not pattern.search(text):
        raise ConfigError(f"{page}: no lines {begin!r} and {end!r} to put the tables between")
    tables = "\n".join(shown(result))
    write_atomic(page, pattern.sub(lambda _: f"\n{tables}\n", text))


def shown(result: DetectionResult) -> Iterable[str]:
    """The lines of all tables."""
    lengths = result.experiment.lengths
    texts = sum(result.texts.values())
    yield (
        f"{texts:,} sentences of {len(result.texts)} languages (Leipzig and FLORES-200, dev), cut "
        f"to whole words of a random place; {result.machine.processor}, commit `{result.commit}`."
    )
    yield from ("", "**Right beside other libraries**, mean over the languages that both know:", "")
    yield from _rivals(result, lengths)
    yield from ("", "**What each takes:**", "")
    yield from _footprints(result)
    yield from (
        "",
        f"**What the service answers** to texts without a language, all {len(result.texts)} being "
        f"possible, at a threshold of {result.experiment.threshold:g}: % right / % wrong, the rest "
        "is refused as unsure.",
        "",
    )
    yield from _served(result.served, lengths)


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _head(first: Sequence[str], rest: Sequence[str]) -> list[str]:
    return [_row([*first, *rest]), _row(["---"] * len(first) + ["--:"] * len(rest))]


def _rivals(result: DetectionResult, lengths: Sequence[int]) -> Iterable[str]:
    columns = [f"{length} characters" for length in lengths]
    yield from _head(["beside", "languages"], columns)
    for rival in dict.fromkeys(each.rival for each in result.accuracies):
        found = {each.length: each for each in result.accuracies if each.rival == rival}
        cells = [_both(found[length]) for length in lengths]
        yield _row([f"langmod / {rival}", len(found[lengths[0]].ours), *cells])


def _both(found: Accuracy) -> str:
    ours, theirs = mean(found.ours.values()), mean(found.theirs.values())
    return f"{ours:.3f} / {theirs:.3f}"


def _footprints(result: DetectionResult) -> Iterable[str]:
    columns = ["installed, MiB", "resident, MiB", "to load, s", "a text, µs"]
    yield from _head(["", "languages, of ours"], columns)
    for each in result.footprints:
        known = f"{each.languages}, {len(each.shared)}"
        figures = [each.installed_mib, each.resident_mib, each.load_seconds, each.microseconds]
        yield _row([f"{each.name} {each.version}", known, *figures])


def _served(served: Sequence[Served], lengths: Sequence[int]) -> Iterable[str]:
    yield from _head(["language"], [f"{length} characters" for length in lengths])
    by_language: dict[str, dict[int, Served]] = {}
    for each in served:
        by_language.setdefault(each.language, {})[each.length] = each
    for tag, found in by_language.items():
        cells = [_percent([found[length]]) for length in lengths]
        yield _row([f"{english_name(tag)} (`{tag}`)", *cells])
    of_all = [_percent([each for each in served if each.length == length]) for length in lengths]
    yield _row(["**all**", *of_all])


def _percent(found: Sequence[Served]) -> str:
    right, wrong = (mean(getattr(each, name) for each in found) for name in ("right", "wrong"))
    return f"{100 * right:.0f} / {100 * wrong:.0f}"
