"""``scores.json``: scores with all that is needed to get them again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from langmod.config import Frozen, write_atomic

SCORES_FILE = "scores.json"


class Metric(Frozen):
    """One score with all that is needed to get it again."""

    name: str
    value: float
    split: Literal["dev", "test"]
    language: str | None = None
    signature: str
    """Metric library, version and settings, e.g. sacrebleu's signature."""
    data: str
    """Digest of the data it was measured on."""


def write_scores(folder: Path, metrics: Sequence[Metric]) -> None:
    """Writes ``scores.json`` beside a run; a published module takes its dev rows along."""
    rows = [metric.model_dump(mode="json") for metric in metrics]
    write_atomic(folder / SCORES_FILE, json.dumps({"metrics": rows}, indent=2) + "\n")


def read_scores(folder: Path) -> list[Metric]:
    """What ``write_scores`` wrote."""
    rows = json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))["metrics"]
    return [Metric.model_validate(row) for row in rows]
