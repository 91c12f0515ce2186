"""``training share``: less of a corpus: some languages, a share of their training lines.

A smaller share lies wholly within a larger one, so that curves over shares compare like with like.
Dev and test text stays whole.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from langmod.config import RunConfig, write_atomic
from langmod.errors import DataError
from langmod.languages import canonical
from training.data.corpus import digest_files, replace_folder, write_lines
from training.data.corpus_card import CorpusCard


class ShareConfig(RunConfig):
    """One run of ``training share``."""

    corpus: Path
    languages: tuple[str, ...]
    """Those whose text is kept, and the pairs between them."""
    share: float = Field(default=1.0, gt=0, le=1)
    """The share of each file's training lines that is kept."""
    most: int | None = None
    """Most training lines that are kept of each file."""
    seed: int = 1
    output: Path
    """The corpus folder; an older one there is replaced."""


def share_corpus(config: ShareConfig) -> CorpusCard:
    """Writes the smaller corpus; the folder appears complete or not at all.

    Raises:
        DataError: no such corpus, or none of the languages in it.
    """
    card = CorpusCard.load(config.corpus)
    files = {path: list(lines) for path, lines in _kept(config)}
    if not files:
        raise DataError(config.corpus, None, f"has no text of {', '.join(config.languages)}")
    config.output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{config.output.name}.", dir=config.output.parent))
    try:
        sizes = tuple(write_lines(draft, path, lines) for path, lines in files.items())
        said: dict[str, Any] = {"digest": digest_files(draft, files), "sizes": sizes}
        said |= {"name": config.output.name, "config": config.model_dump(mode="json")}
        card = card.model_copy(update=said)
        write_atomic(draft / "card.json", card.model_dump_json(indent=2) + "\n")
        draft.chmod(0o755)
        replace_folder(draft, config.output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return card


def _kept(config: ShareConfig) -> Iterator[tuple[Path, list[str]]]:
    """File → its lines, in the order they had."""
    tags = {canonical(tag) for tag in config.languages}
    for kind in ("text", "parallel"):
        for path in sorted((config.corpus / kind).glob("*/*")):
            if set(path.parent.name.split("-")) <= tags:
                lines = path.read_text("utf-8").removesuffix("\n").split("\n")
                if path.stem == "train":
                    lines = _part(lines, config)
                yield path.relative_to(config.corpus), lines


def _part(lines: list[str], config: ShareConfig) -> list[str]:
    size = max(1, round(len(lines) * config.share))
    size = size if config.most is None else min(size, config.most)
    drawn = random.Random(config.seed).sample(range(len(lines)), len(lines))[:size]
    return [lines[place] for place in sorted(drawn)]
