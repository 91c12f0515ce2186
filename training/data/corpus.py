"""`training corpus`: sources → filters → splits → a corpus folder with its card, and its readers.

The folder: ``text/<tag>/<split>.txt`` (a sentence a line), ``parallel/<tag>-<tag>/<split>.tsv``
(source, target, origin), ``card.json`` and ``card.md``.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, field_validator

from langmod.config import RunConfig
from langmod.errors import ConfigError, DataError
from langmod.languages import canonical
from training.data.corpus_card import About, CorpusCard, Count, Size, SourceCard
from training.data.filters import EVALUATION_FILTERS, FILTERS, FilterOptions
from training.data.sources import Row, Source, Sources, Split, read_sources
from training.data.splits import SplitOptions, split_rows

LEAK = "leak"
Tally = Counter[tuple[str, str]]
"""Rows by source and languages."""


class CorpusConfig(RunConfig):
    """What a corpus is made of and where it is written."""

    output: Path
    """The corpus folder; an older one there is replaced when the new one is complete."""
    sources: Sources = Field(min_length=1)
    filters: FilterOptions = FilterOptions()
    splits: SplitOptions = SplitOptions()
    parallel_as_text: bool = True
    """Target sides of the training pairs become training text too, where they are long enough."""
    seed: int = 1

    @field_validator("sources")
    @classmethod
    def _known_filters(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        known = {function.__name__ for function in FILTERS}
        unknown = {name for source in sources for name in source.skip} - known
        if unknown:
            raise ValueError(f"skip: no filter {sorted(unknown)}; known: {sorted(known)}")
        return sources


def build_corpus(config: CorpusConfig) -> CorpusCard:
    """Reads, cleans, splits and writes a corpus; the folder appears complete or not at all.

    Raises:
        DataError: a source that cannot be read, or nothing left after the filters.
        ConfigError: options that do not fit together.
    """
    rows = read_sources(config.sources, config.seed)
    read = tally(rows)
    rows, dropped = apply_filters(rows, config)
    rows, leaks = split_rows(rows, config.splits)
    dropped[LEAK] = tally(leaks)
    if not rows:
        raise DataError(
            config.output,
            None,
            "no text is left after the filters: "
            + ", ".join(f"{name} {taken.total()}" for name, taken in dropped.items() if taken),
        )
    counts = count_rows(read, dropped, tally(rows))
    about = About(
        sources=tuple(describe_source(source) for source in config.sources),
        filters=(*(function.__name__ for function in FILTERS), LEAK),
        counts=tuple(counts),
        config=config.model_dump(mode="json"),
    )
    return write_corpus(lay_out(rows, config), config.output, about)


def tally(rows: Iterable[Row]) -> Tally:
    """Rows by source and languages."""
    return Counter((row.source, row.label) for row in rows)


def apply_filters(rows: list[Row], config: CorpusConfig) -> tuple[list[Row], dict[str, Tally]]:
    """Runs the filters in order; what each took is counted by source and languages."""
    skip = {source.name: set(source.skip) for source in config.sources}
    dropped: dict[str, Tally] = {}
    for function in FILTERS:
        name = function.__name__
        aside: list[Row] = []
        filtered: list[Row] = []
        for row in rows:
            evaluation = row.split in ("dev", "test") and function not in EVALUATION_FILTERS
            (aside if evaluation or name in skip[row.source] else filtered).append(row)
        kept = list(function(filtered, config.filters))
        dropped[name] = tally_dropped(filtered, kept)
        rows = aside + kept
    return rows, dropped


def tally_dropped(before: Iterable[Row], after: Iterable[Row]) -> Tally:
    """Rows lost between two lists; a row that found its language counts under its old one."""
    lost = tally(before)
    lost.subtract(tally(after))
    found = {key: count for key, count in lost.items() if count < 0}
    for (source, _), count in found.items():
        lost[source, "und"] += count
    return +lost


def count_rows(read: Tally, dropped: dict[str, Tally], kept: Tally) -> list[Count]:
    """One count per source and languages, in the order of reading."""
    order = {source: position for position, (source, _) in reversed([*enumerate(read)])}
    keys = dict.fromkeys([*read, *kept, *(key for taken in dropped.values() for key in taken)])
    return [
        Count(
            source=key[0],
            languages=key[1],
            read=read[key],
            dropped={name: taken[key] for name, taken in dropped.items() if taken[key]},
            kept=kept[key],
        )
        for key in sorted(keys, key=lambda key: order[key[0]])
    ]


def lay_out(rows: Iterable[Row], config: CorpusConfig) -> dict[Path, list[str]]:
    """The lines of each file of the corpus folder, without repeats, in the order of the rows."""
    files: dict[Path, dict[str, None]] = {}
    for row in rows:
        if len(row.texts) == 1:
            files.setdefault(text_file(row.label, row.split), {})[row.texts[0]] = None
            continue
        line = "\t".join((*row.texts, row.origin.replace("\t", " ")))
        files.setdefault(pair_file(row.label, row.split), {})[line] = None
        target = row.texts[1]
        long_enough = len(target) >= config.filters.min_characters
        if config.parallel_as_text and row.split == "train" and long_enough:
            files.setdefault(text_file(row.languages[1], "train"), {})[target] = None
    return {path: list(files[path]) for path in sorted(files)}


def text_file(tag: str, split: str | None) -> Path:
    """Where the sentences of a language lie in a corpus folder."""
    return Path("text", tag, f"{split}.txt")


def pair_file(label: str, split: str | None) -> Path:
    """Where the pairs of two languages lie in a corpus folder."""
    return Path("parallel", label, f"{split}.tsv")


def write_corpus(files: dict[Path, list[str]], output: Path, about: About) -> CorpusCard:
    """Writes a draft folder beside the output and renames it when it is whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        sizes = [write_lines(draft, path, lines) for path, lines in files.items()]
        card = CorpusCard(
            name=output.name,
            digest=digest_files(draft, files),
            sizes=tuple(sizes),
            **dict(about),
        )
        (draft / "card.json").write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
        (draft / "card.md").write_text(card.markdown(), "utf-8")
        draft.chmod(0o755)
        replace_folder(draft, output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return card


def write_lines(folder: Path, path: Path, lines: list[str]) -> Size:
    """Writes one file and measures it; characters are those of the sentences alone."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    data = ("\n".join(lines) + "\n").encode("utf-8")
    target.write_bytes(data)
    texts = (line.split("\t")[:2] for line in lines)
    return Size(
        file=str(path),
        languages=path.parent.name,
        split=path.stem,
        sentences=len(lines),
        characters=sum(len(text) for sides in texts for text in sides),
        bytes=len(data),
    )


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """sha256 over names and contents."""
    digest = hashlib.sha256()
    for path in sorted(files):
        data = (folder / path).read_bytes()
        digest.update(f"{path.as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def describe_source(source: Source) -> SourceCard:
    """What the card says of a source; only the end of its path, which is the same everywhere."""
    place = source.dataset or "/".join(Path(str(source.path)).parts[-2:])
    return SourceCard(
        name=source.name,
        place=place,
        licence=source.licence,
        url=source.url,
        skipped_filters=source.skip,
    )


def replace_folder(draft: Path, output: Path) -> None:
    """Puts the draft in the place of the output."""
    if not output.exists():
        draft.rename(output)
        return
    if not (output / "card.json").is_file():
        raise ConfigError(f"output: {output} exists and is no corpus; remove it or choose another")
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    output.rename(old)
    draft.rename(output)
    shutil.rmtree(old)


def read_lines(path: Path) -> list[str]:
    """The lines of one file of a corpus; only a line feed ends one."""
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def read_text(corpus: Path, language: str, split: Split) -> list[str]:
    """The sentences of one language and split.

    Raises:
        DataError: the corpus has no such file; the message lists the languages it has.
    """
    path = corpus / text_file(canonical(language), split)
    if not path.is_file():
        known = ", ".join(corpus_languages(corpus)) or "none"
        raise DataError(path, None, f"no such text; the corpus has {known}")
    return read_lines(path)


def read_pairs(corpus: Path, source: str, target: str, split: Split) -> list[tuple[str, str]]:
    """The pairs of two languages, the source's sentence first, whichever way they are stored.

    Raises:
        DataError: the corpus has no such pairs.
    """
    first, second = canonical(source), canonical(target)
    straight = corpus / pair_file(f"{first}-{second}", split)
    turned = corpus / pair_file(f"{second}-{first}", split)
    path = straight if straight.is_file() else turned
    if not path.is_file():
        known = ", ".join(corpus_pairs(corpus)) or "none"
        raise DataError(straight, None, f"no such pairs; the corpus has {known}")
    pairs = [(cells[0], cells[1]) for cells in (line.split("\t") for line in read_lines(path))]
    return pairs if path == straight else [(right, left) for left, right in pairs]


def corpus_languages(corpus: Path) -> list[str]:
    """The tags of all languages with text, sorted."""
    return sorted(path.name for path in (corpus / "text").glob("*"))


def corpus_pairs(corpus: Path) -> list[str]:
    """The pairs of languages with parallel text, as ``en-mn``, sorted."""
    return sorted(path.name for path in (corpus / "parallel").glob("*"))


def corpus_digest(corpus: Path) -> str:
    """The digest on the corpus card.

    Raises:
        DataError: no card there, or one without a digest.
    """
    path = corpus / "card.json"
    try:
        return str(json.loads(path.read_text("utf-8"))["digest"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(path, None, f"is no card of a corpus: {error!r}") from error
