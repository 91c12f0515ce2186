"""Translations kept beside their scores, for tests that compare systems sentence by sentence."""

import json
from collections.abc import Iterable
from pathlib import Path

from langmod.config import Frozen, write_atomic

FILE = "translations.json"


class Translations(Frozen):
    """What a system made of the sampled pairs of one direction and origin."""

    direction: str
    """``mn-en``"""
    origin: str
    data: str
    """Digest of sources and references."""
    references: list[str]
    hypotheses: list[str]


def save_translations(folder: Path, found: Iterable[Translations]) -> None:
    """Writes ``translations.json``."""
    rows = [each.model_dump() for each in found]
    write_atomic(folder / FILE, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


def read_translations(folder: Path) -> list[Translations]:
    """All that the stages of a run left, in the order of their folders."""
    return [
        Translations.model_validate(row)
        for file in sorted(folder.rglob(FILE))
        for row in json.loads(file.read_text(encoding="utf-8"))
    ]
