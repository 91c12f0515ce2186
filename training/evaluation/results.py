"""``training results``: the score files as Markdown tables in docs/results.md and the README."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmod.config import RunConfig, write_atomic

START, END = "<!-- scores:start -->", "<!-- scores:end -->"
SYSTEMS = {
    "none": "bare base",
    "tfidf-lr": "TF-IDF n-grams + LR",
    "frozen-lr": "frozen vectors + LR",
    "frozen-lr-eng": "frozen vectors + LR, English alone",
    "head": "bare base + head",
    "lora": "LoRA module",
    "bottleneck": "bottleneck module",
    "base": "full fine-tuning",
}
RIVALS = ("none", "tfidf-lr", "frozen-lr", "head")
"""What a module should beat; full fine-tuning trains every weight and is no fair rival."""


class ResultsConfig(RunConfig):
    """One run of ``training results``."""

    scores: Path = Path("benchmarks/results/scores")
    page: Path = Path("docs/results.md")
    readme: Path = Path("README.md")


@dataclass(frozen=True)
class Measure:
    """How a metric is shown."""

    title: str
    best: Callable[..., float]
    factor: float = 1.0
    digits: int = 1

    def shown(self, value: float) -> float:
        """A value as its table has it; what looks the same counts as the same."""
        return round(value * self.factor, self.digits)


MEASURES = {
    "bits_per_byte": Measure("bits per byte by pseudo-likelihood", min, 1.0, 3),
    "chrf++": Measure("chrF++ of greedy translations", max),
    "accuracy": Measure("accuracy × 100", max, 100.0),
    "f1": Measure("F1 of whole spans × 100", max, 100.0),
}
Cells = dict[tuple[str, str], float]
"""(system, language or direction) → value as shown."""


def write_results(config: ResultsConfig) -> str:
    """Writes the page, and the README's section where it has one; returns the tables."""
    boards = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(config.scores.glob("*.json"))
    ]
    tables = "\n\n".join(sections(boards))
    introduction = (
        "# Scores\n\nMade by `make scores` from `benchmarks/results/scores/*.json`, where every "
        "number has its signature and the digest of its data. Bold is the best of a column.\n\n"
    )
    write_atomic(config.page, introduction + tables + "\n")
    text = config.readme.read_text(encoding="utf-8") if config.readme.is_file() else ""
    if START in text and END in text:
        pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
        section = f"{START}\n\n{tables}\n\n{END}"
        write_atomic(config.readme, pattern.sub(lambda _: section, text))
    return tables


def sections(boards: Sequence[Mapping[str, Any]]) -> list[str]:
    """Makes a table of the language modules or directions of each base, and one of each task."""
    rivals = [row for board in boards if "base" not in board for row in board["rows"]]
    found = []
    for board in boards:
        if "base" not in board:
            continue
        rows = board["rows"] + [row for row in rivals if row["base"] in (None, board["base"])]
        for task in dict.fromkeys(row["task"] for row in board["rows"]):
            own = [row for row in rows if row["task"] == task]
            about = f"{board['base']}, {board['split']} split"
            found += [section(own, name, about) for name in _names(own)]
    return found


def section(rows: Sequence[Mapping[str, Any]], name: str, about: str) -> str:
    """One metric of one task, or of the language modules: title, table, and who loses where."""
    kind, _, origin = name.partition(" ")
    measure = MEASURES[kind]
    cells = {
        (row.get("system") or row["method"], metric["language"]): measure.shown(metric["value"])
        for row in rows
        for metric in row["metrics"]
        if metric["name"] == name
    }
    subject = f"Task `{rows[0]['task']}`" if rows[0]["task"] else "Language modules"
    of = f" of `{origin}` sentences" if origin else ""
    better = "lower" if measure.best is min else "higher"
    title = f"### {subject}: {measure.title}{of}, {better} is better ({about})"
    return "\n\n".join([title, table(cells, measure), *losses(cells, measure)])


def table(cells: Cells, measure: Measure) -> str:
    """Systems down, columns across, the best of each column in bold."""
    columns = sorted({column for _, column in cells})
    present = {system for system, _ in cells}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for system in sorted(present, key=_order):
        shown = [_cell(cells, system, column, measure) for column in columns]
        lines.append(f"| {SYSTEMS.get(system, system)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def losses(cells: Cells, measure: Measure) -> list[str]:
    """Where a module does worse than a rival, a sentence each, as one paragraph."""
    modules = {system for system, _ in cells} - {*RIVALS, "base"}
    found = []
    for system in sorted(modules, key=_order):
        for rival in RIVALS:
            lost = [
                column
                for (name, column), value in sorted(cells.items())
                if name == system and _worse(value, cells.get((rival, column)), measure)
            ]
            if lost:
                names = SYSTEMS.get(system, system), SYSTEMS[rival]
                found.append(f"{names[0]} loses to {names[1]} in {', '.join(lost)}.")
    return [" ".join(found)] if found else []


def _worse(value: float, rival: float | None, measure: Measure) -> bool:
    return rival is not None and rival != value and measure.best(value, rival) == rival


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that have a table."""
    names = sorted({metric["name"] for row in rows for metric in row["metrics"]})
    return [name for name in names if name.partition(" ")[0] in MEASURES]


def _order(system: str) -> tuple[int, str]:
    known = list(SYSTEMS)
    return (known.index(system) if system in SYSTEMS else known.index("base"), system)


def _cell(cells: Cells, system: str, column: str, measure: Measure) -> str:
    value = cells.get((system, column))
    if value is None:
        return "–"
    winner = measure.best(each for (_, place), each in cells.items() if place == column)
    text = f"{value:.{measure.digits}f}"
    return f"**{text}**" if value == winner else text
