"""``training results``: the score files as Markdown tables in docs/results.md and the README."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langmod.config import RunConfig, write_atomic

Cells = dict[tuple[str, str], float]
"""(system, column) → value."""
START, END = "<!-- scores:start -->", "<!-- scores:end -->"
TASK_METRICS = {"topic": "accuracy", "sentiment": "accuracy", "ner": "f1"}
SYSTEMS = {
    "tfidf-lr": "TF-IDF n-grams + LR",
    "head": "bare base + head",
    "lora": "LoRA",
    "bottleneck": "bottleneck",
    "base": "full fine-tuning",
    "none": "bare base",
}


class ResultsConfig(RunConfig):
    """One run of ``training results``."""

    scores: Path = Path("benchmarks/results/scores")
    page: Path = Path("docs/results.md")
    readme: Path = Path("README.md")


def write_results(config: ResultsConfig) -> str:
    """Writes the page and the README's section; returns the tables."""
    boards = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(config.scores.glob("*.json"))
    }
    tables = "\n\n".join(sections(boards))
    introduction = (
        "# Scores\n\nMade by `make scores` from `benchmarks/results/scores/*.json`, where every "
        "number has its signature and the digest of its data. Test splits; bold is the best of a "
        "column.\n\n"
    )
    write_atomic(config.page, introduction + tables + "\n")
    text = config.readme.read_text(encoding="utf-8")
    if START in text and END in text:
        pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
        section = f"{START}\n\n{tables}\n\n{END}"
        write_atomic(config.readme, pattern.sub(lambda _: section, text))
    return tables


def sections(boards: Mapping[str, Any]) -> list[str]:
    """One titled table for each kind of score that there is."""
    found = []
    for board in boards.values():
        rows = board["rows"]
        if any(row.get("language") and "-" not in row["language"] for row in rows):
            found.append(language_section(rows))
        if any(row.get("language") and "-" in row["language"] for row in rows):
            found.append(direction_section(rows))
    return found + task_sections(boards)


def language_section(rows: Sequence[Mapping[str, Any]]) -> str:
    """Bits per byte of each language with and without its modules, lower is better."""
    chosen = [row for row in rows if row.get("language")]
    cells = {
        (row["method"], row["language"]): metric["value"]
        for row in chosen
        for metric in row["metrics"]
        if metric["name"] == "bits_per_byte"
    }
    title = "### Language modules: bits per byte, by pseudo-likelihood (lower is better)"
    return f"{title}\n\n{table(cells, ('none', 'lora', 'bottleneck'), best=min, digits=3)}"


def direction_section(rows: Sequence[Mapping[str, Any]]) -> str:
    """chrF++ of each direction and origin with and without its module, higher is better."""
    parts = []
    origins = sorted(
        {
            metric["name"].removeprefix("chrf++ ")
            for row in rows
            for metric in row["metrics"]
            if metric["name"].startswith("chrf++")
        }
    )
    for origin in origins:
        cells = {
            (row["method"], row["language"]): metric["value"]
            for row in rows
            for metric in row["metrics"]
            if metric["name"] == f"chrf++ {origin}"
        }
        title = f"### Translation: chrF++ on `{origin}` sentences (greedy, higher is better)"
        systems = ("none", "lora", "bottleneck")
        parts.append(f"{title}\n\n{table(cells, systems, best=max, digits=1)}")
    return "\n\n".join(parts)


def task_sections(boards: Mapping[str, Any]) -> list[str]:
    """One table a task: our modules among their rivals, higher is better."""
    rows = [row for board in boards.values() for row in board["rows"] if row.get("task")]
    found = []
    for task, name in TASK_METRICS.items():
        cells = {
            (row.get("system") or row["method"], metric["language"]): 100 * metric["value"]
            for row in rows
            if row["task"] == task
            for metric in row["metrics"]
            if metric["name"] == name
        }
        if cells:
            systems = ("tfidf-lr", "head", "lora", "bottleneck", "base")
            title = f"### Task `{task}`: {name} × 100 (higher is better)"
            found.append(f"{title}\n\n{table(cells, systems, best=max, digits=1)}")
    return found


def table(cells: Cells, systems: Sequence[str], best: Any, digits: int) -> str:
    """Systems down, columns across, the best of each column in bold."""
    columns = sorted({column for _, column in cells})
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for system in systems:
        if not any((system, column) in cells for column in columns):
            continue
        shown = [_cell(cells, system, column, best, digits) for column in columns]
        lines.append(f"| {SYSTEMS[system]} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _cell(cells: Cells, system: str, column: str, best: Any, digits: int) -> str:
    value = cells.get((system, column))
    if value is None:
        return "–"
    winner = best(each for (_, place), each in cells.items() if place == column)
    text = f"{value:.{digits}f}"
    return f"**{text}**" if text == f"{winner:.{digits}f}" else text
