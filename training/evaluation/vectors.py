"""``training vectors``: what a sentence encoder's vectors are good for, bare and with modules.

Translations are found by the nearest vector; similarity of two sentences is compared with what
people said of them. Nothing is trained here. Texts are read as the service's ``/embed`` reads them.
"""

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from scipy.stats import spearmanr

from langmod.config import Frozen, RunConfig, write_atomic
from langmod.errors import DataError
from langmod.languages import canonical
from langmod.specs import Metric
from training.evaluation.probe import nearest
from training.modules.vector_reader import VectorReader
from training.scoring.score import ScoredSplit, texts_digest


class VectorsConfig(RunConfig):
    """One run of ``training vectors``."""

    base: str
    """An encoder that ``base.json`` describes."""
    language_modules: str | None = None
    """A path with ``{language}`` to runs or published modules; where there is none of a language,
    its texts are read by the bare base. None: all are."""
    languages: tuple[str, ...] = ()
    """Whose sentences are to be found among those of the pivot, and the other way."""
    pivot: str = "eng"
    parallel: str = ""
    """Path with ``{language}`` and ``{split}``: TSV of the pivot's sentence, the translation, and
    the origin; ``.xz``."""
    origin: str = "flores"
    """The pairs of this origin are taken."""
    similarity: str = ""
    """Path with ``{language}`` and ``{split}``: TSV of a number and two sentences; ``.xz``."""
    similarity_languages: tuple[str, ...] = ()
    split: Literal["dev", "test"] = "dev"
    sentences: int | None = None
    """Most pairs of a language, the first ones."""
    out: Path


class VectorScores(Frozen):
    """What was measured."""

    base_digest: str
    metrics: tuple[Metric, ...]

    def __str__(self) -> str:
        return "\n".join(f"{m.name} {m.language}: {m.value:.4f}" for m in self.metrics)


def score_vectors(config: VectorsConfig) -> VectorScores:
    """Measures an encoder and writes the numbers as JSON.

    Raises:
        ConfigError: no encoder base there.
        DataError: text that cannot be read.
    """
    reader = VectorReader(config.base, config.language_modules)
    metrics = [
        metric for language in config.languages for metric in retrieval(reader, config, language)
    ]
    metrics += [similarity(reader, config, language) for language in config.similarity_languages]
    scores = VectorScores(base_digest=reader.scored.spec.digest, metrics=tuple(metrics))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(config.out, json.dumps(scores.model_dump(mode="json"), indent=1) + "\n")
    return scores


def retrieval(reader: VectorReader, config: VectorsConfig, language: str) -> list[Metric]:
    """Share of sentences whose translation is nearest, from the language and to it."""
    rows = read_cells(config.parallel, language, config.split)
    pairs = [row[:2] for row in rows if row[2] == config.origin][: config.sentences]
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    tags = canonical(config.pivot), canonical(language)
    vectors = [reader.vectors(texts, tag) for texts, tag in zip(sides, tags, strict=True)]
    about = f"cosine|{config.origin}|pairs:{len(pairs)}|{_served(config)}"
    return [
        _metric("retrieval@1", value, config.split, "-".join(way), about, [*sides[0], *sides[1]])
        for way, value in zip((tags, tags[::-1]), nearest(vectors), strict=True)
    ]


def similarity(reader: VectorReader, config: VectorsConfig, language: str) -> Metric:
    """Rank correlation of the vectors' products with what people said."""
    rows = read_cells(config.similarity, language, config.split)[: config.sentences]
    sides = [reader.vectors([row[side] for row in rows], language) for side in (1, 2)]
    found = (sides[0] * sides[1]).sum(axis=1)
    value = float(spearmanr([float(row[0]) for row in rows], found).statistic)
    about = f"cosine|spearman|pairs:{len(rows)}|{_served(config)}"
    texts = ["\t".join(row) for row in rows]
    return _metric("spearman", value, config.split, canonical(language), about, texts)


def _served(config: VectorsConfig) -> str:
    return "bare" if config.language_modules is None else "language modules"


def _metric(  # noqa: PLR0913, PLR0917  (a metric's own fields)
    name: str, value: float, split: ScoredSplit, language: str, signature: str, texts: Sequence[str]
) -> Metric:
    return Metric(
        name=name, value=value, split=split, language=language, signature=signature,
        data=texts_digest(texts),
    )  # fmt: skip


def read_cells(files: str, language: str, split: str) -> list[list[str]]:
    """The lines of a compressed table of three columns.

    Raises:
        DataError: no such file, or a line of another form.
    """
    path = Path(files.format(language=language, split=split))
    if not path.is_file():
        raise DataError(path, None, "no such file")
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) != 3:
            raise DataError(path, number, f"{len(row)} columns, wanted 3")
    return rows
