"""The corpus command: what it writes, what it counts, and that nothing half-written is left."""

import json
from pathlib import Path

import pytest

from langmod.errors import ConfigError, DataError
from tests.training.corpora import config, sentences, small_config, source, write_lines
from training.data.corpus import (
    CorpusConfig,
    build_corpus,
    corpus_digest,
    corpus_languages,
    corpus_pairs,
    read_pairs,
    read_text,
)
from training.data.corpus_card import CorpusCard
from training.data.splits import sentence_key

CONFIGS = sorted((Path(__file__).parents[3] / "training" / "configs").glob("corpus-*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load(path):
    assert CorpusConfig.load(path).sources


def test_folder_and_readers(small_corpus):
    assert corpus_languages(small_corpus) == ["en", "ko", "mn"]
    assert corpus_pairs(small_corpus) == ["en-mn"]
    pairs = read_pairs(small_corpus, "eng", "khk", "dev")
    assert pairs == [(left, right) for right, left in read_pairs(small_corpus, "mn", "en", "dev")]
    assert len(pairs) == 40
    assert all(line.endswith("\tbook") for line in lines_of(small_corpus, "en-mn", "test"))


def lines_of(corpus: Path, label: str, split: str) -> list[str]:
    return (corpus / "parallel" / label / f"{split}.tsv").read_text("utf-8").splitlines()


def test_target_sides_become_text(small_corpus):
    targets = {target for _, target in read_pairs(small_corpus, "en", "mn", "train")}
    assert targets <= set(read_text(small_corpus, "mn", "train"))
    held_back = {target for _, target in read_pairs(small_corpus, "en", "mn", "test")}
    assert not held_back & set(read_text(small_corpus, "mn", "train"))


def test_target_sides_can_stay_out(tmp_path):
    corpus_config = small_config(tmp_path).model_copy(update={"parallel_as_text": False})
    build_corpus(corpus_config)
    targets = {target for _, target in read_pairs(corpus_config.output, "en", "mn", "train")}
    assert not targets & set(read_text(corpus_config.output, "mn", "train"))


def test_no_sentence_is_in_two_splits(small_corpus):
    files = [*small_corpus.glob("text/*/*.txt"), *small_corpus.glob("parallel/*/*.tsv")]
    keys: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for path in files:
        for line in path.read_text("utf-8").splitlines():
            keys[path.stem].update(map(sentence_key, line.split("\t")[:2]))
    assert all(keys.values())
    assert not keys["train"] & keys["dev"]
    assert not keys["train"] & keys["test"]
    assert not keys["dev"] & keys["test"]


def test_card(small_corpus):
    card = CorpusCard.load(small_corpus)
    assert corpus_digest(small_corpus) == card.digest
    for count in card.counts:
        assert count.read == count.kept + sum(count.dropped.values())
    for size in card.sizes:
        data = (small_corpus / size.file).read_bytes()
        assert (size.bytes, size.sentences) == (len(data), data.count(b"\n"))
    text = (small_corpus / "card.md").read_text("utf-8")
    assert card.digest in text
    assert "CC0 1.0" in text


def test_same_input_gives_the_same_corpus(tmp_path, small_corpus):
    assert build_corpus(small_config(tmp_path)).digest == corpus_digest(small_corpus)


def test_every_drop_is_counted(tmp_path):
    good = sentences("mn", 20)
    lines = [*good, good[0], "", "12345 67890 12345", "богино", "Эв\ufffdдэрсэн өгүүлбэр байна."]
    path = write_lines(tmp_path / "a.txt", lines)
    held = write_lines(tmp_path / "held.txt", [good[1].upper()])
    card = build_corpus(
        config(tmp_path / "out", source(path, ["mn"]), source(held, ["mn"], split="test"))
    )
    expected = dict.fromkeys(("missing", "mojibake", "few_letters", "length"), 1)
    assert dict(card.counts[0].dropped) == expected | {"exact_duplicate": 1, "leak": 1}
    assert card.counts[0].kept == len(good) - 1
    assert card.counts[1].kept == 1


def test_declared_evaluation_text_is_kept_as_it_is(tmp_path):
    path = write_lines(tmp_path / "a.txt", ["Богино", "<b>100%</b>"])
    build_corpus(config(tmp_path / "out", source(path, ["mn"], split="test")))
    assert read_text(tmp_path / "out", "mn", "test") == ["Богино", "<b>100%</b>"]


def test_skipped_filter(tmp_path):
    path = write_lines(tmp_path / "a.txt", ["Богино"])
    build_corpus(config(tmp_path / "out", source(path, ["mn"], skip=["length"])))
    assert read_text(tmp_path / "out", "mn", "train") == ["Богино"]
    with pytest.raises(ValueError, match=r"no filter \['lenght'\]; known: "):
        config(tmp_path / "out", source(path, ["mn"], skip=["lenght"]))


def test_mixed_languages_are_sorted(tmp_path, identifier):
    lines = [
        "Хүний эрхийн түгээмэл тунхаглал",
        "모든 인간은 태어날 때부터 자유롭다",
        "Хүн бүр эрх чөлөөтэй төрдөг",
    ]
    path = write_lines(tmp_path / "a.txt", lines)
    filters = {"identifier": str(identifier)}
    card = build_corpus(config(tmp_path / "out", source(path, ["und"]), filters=filters))
    assert corpus_languages(tmp_path / "out") == ["ko", "mn"]
    kept = {count.languages: count.kept for count in card.counts}
    assert kept == {"und": 0, "mn": 2, "ko": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [("a\tb\nc", r"a\.tsv:2: has 1 columns"), ("!!!\t???", r"no text is left.*few_letters 1")],
)
def test_nothing_half_written(tmp_path, line, message):
    path = write_lines(tmp_path / "a.tsv", [line])
    bad = source(path, ["en", "mn"], format="tsv", fields=[0, 1])
    with pytest.raises(DataError, match=message):
        build_corpus(config(tmp_path / "out" / "corpus", bad))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tsv"]


def test_a_fault_while_writing_leaves_the_old_corpus(tmp_path, monkeypatch):
    corpus_config = small_config(tmp_path)
    digest = build_corpus(corpus_config).digest
    before = sorted(entry.name for entry in tmp_path.iterdir())
    monkeypatch.setattr(CorpusCard, "markdown", lambda card: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_corpus(corpus_config)
    assert corpus_digest(corpus_config.output) == digest
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_an_older_corpus_is_replaced_and_nothing_else(tmp_path):
    path = write_lines(tmp_path / "a.txt", sentences("mn", 20))
    (tmp_path / "out").mkdir()
    write_lines(tmp_path / "out" / "mine.txt", ["my notes"])
    with pytest.raises(ConfigError, match=r"out exists and is no corpus"):
        build_corpus(config(tmp_path / "out", source(path, ["mn"])))
    build_corpus(config(tmp_path / "new", source(path, ["mn"])))
    write_lines(path, sentences("mn", 30))
    build_corpus(config(tmp_path / "new", source(path, ["mn"])))
    assert len(read_text(tmp_path / "new", "mn", "train")) > 20
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.txt", "new", "out"]


def test_readers_name_what_there_is(small_corpus, tmp_path):
    with pytest.raises(DataError, match=r"no such text; the corpus has en, ko, mn"):
        read_text(small_corpus, "tr", "train")
    with pytest.raises(DataError, match=r"no such pairs; the corpus has en-mn"):
        read_pairs(small_corpus, "en", "ko", "train")
    with pytest.raises(DataError, match=r"is no card of a corpus"):
        corpus_digest(tmp_path)


def test_resolved_config_is_on_the_card(small_corpus):
    written = json.loads((small_corpus / "card.json").read_text("utf-8"))["config"]
    assert CorpusConfig.model_validate(written).splits.dev == 0.1
