"""First step of `training corpus`: declared sources → rows, or an error naming file and line."""

import gzip
import json
import lzma
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import glob
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Literal, NamedTuple, Self, cast

import datasets
from pydantic import BeforeValidator, Field, field_validator, model_validator

from langmod.config import Frozen
from langmod.errors import BadRequest, ConfigError, DataError
from langmod.languages import canonical

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
ANY_LANGUAGE = "und"


class Row(NamedTuple):
    """One sentence, or one sentence and its translation, on its way through the corpus."""

    source: str
    languages: tuple[str, ...]
    texts: tuple[str, ...]
    origin: str
    split: Split | None
    """The split its source declares; None lets the content decide."""

    @property
    def label(self) -> str:
        """``mn`` for a sentence, ``en-mn`` for a pair."""
        return "-".join(self.languages)


class Source(Frozen):
    """Where text comes from, how it is laid out, and under which licence."""

    name: str
    path: str | None = None
    """A file or a glob; ``.xz`` and ``.gz`` are opened by their ending."""
    dataset: str | None = None
    """Instead of a path: a Hugging Face ``datasets`` id or a local dataset folder."""
    subset: str | None = None
    dataset_split: str = "train"
    format: Literal["text", "tsv", "jsonl"] = "text"
    languages: tuple[str, ...] = Field(min_length=1, max_length=2)
    """One tag for text, two for pairs; ``und`` takes the language the identifier finds."""
    fields: tuple[int | str, ...] = (0,)
    """Column numbers from 0, header names, or (dotted) JSON field names; one per language."""
    origin: int | str | None = None
    """The field that says where a row comes from; without it the name of the source."""
    split: Split | None = None
    """Declares every row train, dev or test; without it the content decides."""
    skip: tuple[str, ...] = ()
    """Filters that leave this source alone."""
    max_sentences: int | None = None
    """A seeded sample of at most this many rows."""
    licence: str
    url: str

    @field_validator("languages")
    @classmethod
    def _canonical(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(canonical(tag) for tag in tags)
        except BadRequest as error:  # pydantic gathers ValueErrors only
            raise ValueError(error.message) from error

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path or dataset")
        if len(self.fields) != len(self.languages):
            raise ValueError("give one field for each language")
        if self.format == "text" and self.path is not None and self.fields != (0,):
            raise ValueError("plain text has no fields; use format: tsv or jsonl")
        return self

    @property
    def wanted(self) -> tuple[int | str, ...]:
        """The fields a row is made of, the origin last when there is one."""
        return self.fields if self.origin is None else (*self.fields, self.origin)


def expand_each(sources: object) -> object:
    """Writes out a source with ``each: [khk, kor]`` once for each, ``{each}`` filled in."""
    if not isinstance(sources, Sequence):
        return sources
    expanded: list[object] = []
    for source in sources:
        if not isinstance(source, dict) or "each" not in source:
            expanded.append(source)
            continue
        template = json.dumps({name: value for name, value in source.items() if name != "each"})
        expanded += [json.loads(template.replace("{each}", str(value))) for value in source["each"]]
    return expanded


Sources = Annotated[tuple[Source, ...], BeforeValidator(expand_each)]


def read_source(source: Source, seed: int) -> list[Row]:
    """All rows of a source, sampled down to ``max_sentences`` in their order.

    Raises:
        DataError: no such file, nothing in it, a missing column, a broken line.
    """
    records = read_dataset(source) if source.dataset else read_files(source)
    rows = [to_row(source, values) for values in records]
    if not rows:
        raise DataError(Path(source.path or source.dataset or ""), None, "holds no text")
    if source.max_sentences is not None and len(rows) > source.max_sentences:
        chosen = random.Random(seed).sample(range(len(rows)), source.max_sentences)
        rows = [rows[index] for index in sorted(chosen)]
    return rows


def to_row(source: Source, values: tuple[str, ...]) -> Row:
    """A row of the values of the wanted fields."""
    count = len(source.languages)
    origin = values[count] if source.origin is not None else source.name
    return Row(source.name, source.languages, values[:count], origin, source.split)


def read_files(source: Source) -> Iterator[tuple[str, ...]]:
    """The wanted fields of every line of every file of the glob, in sorted order."""
    paths = sorted(Path(name) for name in glob(str(source.path)))
    if not paths:
        raise DataError(Path(str(source.path)), None, "no such file")
    for path in paths:
        lines = read_lines(path)
        if source.format == "text":
            yield from ((text,) for _, text in lines)
        elif source.format == "tsv":
            yield from read_tsv(path, lines, source.wanted)
        else:
            yield from read_jsonl(path, lines, source.wanted)


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a plain, xz or gzip file by its ending."""
    if path.suffix == ".xz":
        return lzma.open(path)
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    return path.open("rb")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines from 1; bytes that are no UTF-8 become U+FFFD, which a filter looks for."""
    number = 0
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8", errors="replace").rstrip("\r\n")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(path, number + 1, f"cannot be read: {error}") from error


def read_tsv(
    path: Path, lines: Iterable[tuple[int, str]], wanted: tuple[int | str, ...]
) -> Iterator[tuple[str, ...]]:
    """The wanted columns; names are looked up in the first line, numbers mean no header."""
    lines = iter(lines)
    columns = list(wanted)
    if any(isinstance(field, str) for field in wanted):
        header = next(lines, (1, ""))[1].split("\t")
        columns = [find_column(path, header, field) for field in wanted]
    indices = [int(column) for column in columns]
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) <= max(indices):
            problem = f"has {len(cells)} columns, column {max(indices)} (from 0) is wanted"
            raise DataError(path, number, problem)
        yield tuple(cells[index] for index in indices)


def find_column(path: Path, header: list[str], field: int | str) -> int:
    """The number of a column given by name or number."""
    if isinstance(field, int):
        return field
    if field not in header:
        raise DataError(path, 1, f"no column {field!r}; the header has {', '.join(header)}")
    return header.index(field)


def read_jsonl(
    path: Path, lines: Iterable[tuple[int, str]], wanted: tuple[int | str, ...]
) -> Iterator[tuple[str, ...]]:
    """The wanted fields of each JSON object."""
    for number, line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(path, number, f"is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(path, number, f"is no JSON object but {line:.40}")
        yield tuple(pick(path, number, record, str(field)) for field in wanted)


def pick(path: Path, number: int, record: Mapping[str, object], field: str) -> str:
    """One field by its dotted name; null is an empty text, which a filter counts."""
    value: object = record
    for part in field.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise DataError(path, number, f"no field {field!r}; has {', '.join(record)}")
        value = value[part]
    if value is not None and not isinstance(value, str):
        raise DataError(path, number, f"field {field!r} is no text but {value!r:.40}")
    return value or ""


def read_dataset(source: Source) -> Iterator[tuple[str, ...]]:
    """The wanted fields of a Hugging Face dataset, by id, data folder or saved folder."""
    place = Path(str(source.dataset))
    try:
        if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(place))
            table = loaded[source.dataset_split] if isinstance(loaded, dict) else loaded
        else:
            table = datasets.load_dataset(
                str(source.dataset), source.subset, split=source.dataset_split
            )
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise DataError(place, None, f"cannot be loaded as a dataset: {error}") from error
    for number, record in enumerate(table, 1):
        yield tuple(pick(place, number, record, str(field)) for field in source.wanted)


def read_sources(sources: Iterable[Source], seed: int) -> list[Row]:
    """The rows of all sources, in the order of the config.

    Raises:
        ConfigError: two sources of one name.
        DataError: see ``read_source``.
    """
    sources = tuple(sources)
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"sources: name used twice: {', '.join(twice)}")
    return list(chain.from_iterable(read_source(source, seed) for source in sources))
