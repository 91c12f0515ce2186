"""Every format is read alike, and every fault names file and line."""

import gzip
import lzma
from pathlib import Path

import pytest
from pydantic import ValidationError

from langmod.errors import ConfigError, DataError
from tests.training.corpora import config, source, write_lines
from training.data.sources import Row, Source, read_source, read_sources

TEXTS = ("Сайн байна уу", "안녕하세요")


def read(path: Path, languages: list[str], **fields: object) -> list[Row]:
    return read_source(Source.model_validate(source(path, languages, **fields)), seed=1)


def read_dataset(folder: Path) -> list[Row]:
    fields = source(folder, ["mn"], fields=["text"]) | {"path": None, "dataset": str(folder)}
    return read_source(Source.model_validate(fields), seed=1)


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("a.txt", "{0}\n{1}\n", {}),
        ("a.txt", "{0}\r\n{1}", {}),
        ("a.tsv", "x\t{0}\ny\t{1}\n", {"format": "tsv", "fields": [1]}),
        ("a.tsv", "id\ttext\nx\t{0}\ny\t{1}\n", {"format": "tsv", "fields": ["text"]}),
        (
            "a.jsonl",
            '{{"t": {{"mn": "{0}"}}}}\n{{"t": {{"mn": "{1}"}}}}\n',
            {"format": "jsonl", "fields": ["t.mn"]},
        ),
    ],
)
@pytest.mark.parametrize("opener", [(open, ""), (gzip.open, ".gz"), (lzma.open, ".xz")])
def test_formats(tmp_path, name, content, fields, opener):
    open_file, ending = opener
    path = tmp_path / (name + ending)
    with open_file(path, "wb") as file:
        file.write(content.format(*TEXTS).encode())
    rows = read(path, ["khk"], **fields)
    assert [row.texts for row in rows] == [(text,) for text in TEXTS]
    assert {row.label for row in rows} == {"mn"}


def test_pair_and_origin(tmp_path):
    path = write_lines(tmp_path / "p.tsv", ["Hello\tСайн уу\tbook"])
    rows = read(path, ["eng", "khk"], format="tsv", fields=[0, 1], origin=2, split="dev")
    assert rows == [Row("p", ("en", "mn"), ("Hello", "Сайн уу"), "book", "dev")]


def test_glob_reads_in_sorted_order(tmp_path):
    for name in ("b", "a", "c"):
        write_lines(tmp_path / f"{name}.txt", [name])
    rows = read(tmp_path / "*.txt", ["mn"])
    assert [row.texts[0] for row in rows] == ["a", "b", "c"]


def test_dataset_folder(tmp_path):
    write_lines(tmp_path / "train.jsonl", ['{"text": "нэг"}', '{"text": "хоёр"}'])
    rows = read_dataset(tmp_path)
    assert [row.texts[0] for row in rows] == ["нэг", "хоёр"]


def test_saved_dataset(tmp_path):
    from datasets import Dataset

    Dataset.from_dict({"text": ["нэг", "хоёр"]}).save_to_disk(tmp_path / "saved")
    rows = read_dataset(tmp_path / "saved")
    assert [row.texts[0] for row in rows] == ["нэг", "хоёр"]


def test_sample_is_seeded_and_keeps_order(tmp_path):
    path = write_lines(tmp_path / "n.txt", [f"{number:03}" for number in range(100)])
    once, again = (read(path, ["mn"], max_sentences=10) for _ in range(2))
    assert once == again
    assert once == sorted(once)
    assert len(once) == 10


TSV = {"format": "tsv", "fields": [1]}
JSONL = {"format": "jsonl", "fields": ["text"]}


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b"", {}, r"f\.txt: holds no text"),
        (b"a\tb\nc\n", TSV, r"f\.txt:2: has 1 columns, column 1"),
        (b"id\tbody\n1\tx\n", TSV | {"fields": ["text"]}, r"f\.txt:1: no column 'text'.*id, body"),
        (b'{"text": "a"}\n{"text": \n', JSONL, r"f\.txt:2: is no JSON"),
        (b'{"text": "a"}\n["text"]\n', JSONL, r"f\.txt:2: is no JSON object"),
        (b'{"body": "a"}\n', JSONL, r"f\.txt:1: no field 'text'; has body"),
        (b'{"text": 7}\n', JSONL, r"f\.txt:1: field 'text' is no text but 7"),
    ],
)
def test_bad_input(tmp_path, content, fields, message):
    path = tmp_path / "f.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path, ["mn"], **fields)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.txt: no such file"):
        read(tmp_path / "nothing.txt", ["mn"])


def test_no_such_dataset(tmp_path):
    with pytest.raises(DataError, match=r"none: cannot be loaded as a dataset"):
        read_dataset(tmp_path / "none")


def test_cut_off_archive(tmp_path):
    whole = lzma.compress("\n".join(str(n) for n in range(100_000)).encode())
    (tmp_path / "f.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"f\.xz:\d+: cannot be read"):
        read(tmp_path / "f.xz", ["mn"])


def test_null_is_an_empty_text(tmp_path):
    path = write_lines(tmp_path / "f.jsonl", ['{"text": null}'])
    assert read(path, ["mn"], **JSONL)[0].texts == ("",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fields": [0, 1], "format": "tsv"}, "one field for each language"),
        ({"dataset": "x"}, "either path or dataset"),
        ({"fields": [2]}, "plain text has no fields"),
        ({"languages": ["!!"]}, "not a language tag"),
        ({"licence": None}, "licence"),
    ],
)
def test_bad_source(tmp_path, fields, message):
    with pytest.raises((ValidationError, ConfigError), match=message):
        config(tmp_path / "out", source(tmp_path / "a.txt", ["mn"]) | fields)


def test_names_are_unique(tmp_path):
    path = write_lines(tmp_path / "a.txt", ["нэг"])
    sources = config(tmp_path / "out", *[source(path, ["mn"])] * 2).sources
    with pytest.raises(ConfigError, match="name used twice: a"):
        read_sources(sources, seed=1)


def test_each_writes_a_source_out(tmp_path):
    template = source(tmp_path / "{each}.txt", ["{each}"], each=["khk", "kor"])
    first, second = config(tmp_path / "out", template).sources
    assert (first.name, first.languages) == ("khk", ("mn",))
    assert (second.name, second.path) == ("kor", str(tmp_path / "kor.txt"))
