"""The modules' rivals: the linear models learn, and finished baseline runs are collected."""

import json

import pytest

from langmod.errors import DataError
from training.data.task_data import LabelledText
from training.evaluation.baselines import BaselineConfig, classify_texts, score_baselines, tag_words
from training.evaluation.word_tagger import neighbour_ngrams, spans_of, words_of

TRAIN = [
    LabelledText(f"we saw {name} {n} there", [(7, 7 + len(name), "PER")], "en")
    for n in range(8)
    for name in ("Anna", "Bold")
]


def test_the_linear_model_learns_labels():
    train = [
        LabelledText(f"{word} text {n}", word, "en") for n in range(9) for word in ("up", "no")
    ]
    assert classify_texts(train, train[:4]) == ["up", "no", "up", "no"]


def test_the_linear_model_reads_both_texts_of_a_pair():
    train = [
        LabelledText(("same", f"{word} {n}"), word, "en") for n in range(9) for word in ("up", "no")
    ]
    assert classify_texts(train, train[:2]) == ["up", "no"]


def test_the_linear_tagger_answers_in_whole_words():
    test = [LabelledText("we saw Anna, there", [], "en"), LabelledText("", [], "en")]
    assert tag_words(TRAIN, test) == [[(7, 11, "PER")], []]


def test_a_word_knows_its_neighbours_apart_from_itself():
    words = words_of(LabelledText("in Ulaanbaatar.", [(3, 8, "LOC")], "en"))
    assert [(word.start, word.end, word.label) for word in words] == [
        (0, 2, "O"),
        (3, 14, "LOC"),
        (14, 15, "O"),
    ]
    assert words[1].context == ("in", "Ulaanbaatar", ".")
    grams = neighbour_ngrams(("ab", "cd", ""))
    assert {"- ab ", "= cd ", "+ "} <= set(grams)
    assert not {"=ab", "-cd", "+cd"} & set(grams)


def test_neighbouring_words_of_one_label_are_one_span():
    words = words_of(LabelledText("Genghis Khan rode to Karakorum", [], "en"))
    labels = ["PER", "PER", "O", "O", "LOC"]
    assert spans_of(words, labels) == [(0, 12, "PER"), (21, 30, "LOC")]


@pytest.fixture
def runs(tmp_path):
    """A finished head run, a module run and one without scores."""
    metric = {"name": "accuracy", "value": 0.5, "language": "en", "signature": "s", "data": "d"}
    scores = {"metrics": [metric | {"split": split} for split in ("dev", "test")]}
    for name, train in (("head-run", "head"), ("module-run", "module"), ("killed", "base")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        run = {"name": name, "role": "task", "method": "lora", "train": train, "base": "nano"}
        run |= {"base_digest": "b", "languages": ["en"], "task": "topic", "data": "d"}
        run |= {"licence": "CC0", "steps": 1, "trained_parameters": 1, "final_loss": 1.0}
        (folder / "run.json").write_text(json.dumps(run))
        if name != "killed":
            (folder / "scores.json").write_text(json.dumps(scores))
    return tmp_path / "runs"


def baseline_config(folder, runs, **task):
    task = {"name": "topic", "kind": "classify", "languages": ["eng"]} | task
    files = f"{folder}/{{language}}.{{split}}.tsv"
    values = {"tasks": [task | {"files": files}], "runs": runs, "out": folder / "new" / "b.json"}
    return BaselineConfig.model_validate(values)


def test_rivals_of_a_task_are_in_one_file(tmp_path, runs):
    lines = "\n".join(f"{word}\t{word} {n}" for n in range(9) for word in ("up", "no"))
    for split in ("train", "test"):
        (tmp_path / f"eng.{split}.tsv").write_text(lines + "\n")
    config = baseline_config(tmp_path, runs)
    rivals = score_baselines(config)
    assert [(row.system, row.base, row.task) for row in rivals.rows] == [
        ("tfidf-lr", None, "topic"),
        ("head", "nano", "topic"),
    ]
    linear, head = rivals.rows
    assert {m.name: m.value for m in linear.metrics} == {"accuracy": 1.0, "macro_f1": 1.0}
    assert all(m.language == "en" and "examples:18" in m.signature for m in linear.metrics)
    assert [m.split for m in head.metrics] == ["test"]
    assert json.loads(config.out.read_text()) == rivals.model_dump(mode="json")


def test_only_the_examples_a_module_saw_train_the_linear_model(tmp_path, runs):
    seen = "up\tup\nno\tno\nup\tup\nno\tno\n"
    (tmp_path / "eng.train.tsv").write_text(seen + "late\tlate\n" * 9)
    (tmp_path / "eng.test.tsv").write_text("late\tlate\n" * 4)
    for limit, accuracy in ((4, 0.0), (None, 1.0)):
        rivals = score_baselines(baseline_config(tmp_path, runs, max_train=limit))
        assert rivals.rows[0].metrics[0].value == accuracy


def test_a_missing_file_is_named(tmp_path, runs):
    with pytest.raises(DataError, match=r"eng\.train\.tsv: no such file"):
        score_baselines(baseline_config(tmp_path, runs))


def test_frozen_vectors_carry_labels_to_other_languages(base, tmp_path):
    """Two classes of opposite words: learned in one language, found in the other."""
    words = {"kor": ("red", "blue"), "khk": ("red", "blue")}
    for code, (up, down) in words.items():
        for split in ("train", "test"):
            rows = [f"{label}\t{word} {n} {word}" for n in range(12)
                    for label, word in (("up", up), ("down", down))]  # fmt: skip
            (tmp_path / f"{code}.{split}.tsv").write_text("\n".join(rows), encoding="utf-8")
    task = {"name": "colour", "kind": "classify", "languages": ["kor", "khk"],
            "files": f"{tmp_path}/{{language}}.{{split}}.tsv"}  # fmt: skip
    settings = {"tasks": [task], "runs": tmp_path / "runs", "out": tmp_path / "rivals.json",
                "frozen": str(base), "frozen_sources": ["kor"]}  # fmt: skip
    found = score_baselines(BaselineConfig.model_validate(settings))
    systems = [row.system for row in found.rows]
    assert systems == ["tfidf-lr", "frozen-lr", "frozen-lr-kor"]
    for row in found.rows[1:]:
        assert row.base == "nano"
        accuracy = {m.language: m.value for m in row.metrics if m.name == "accuracy"}
        assert set(accuracy.values()) == {1.0}, row.system
    assert "examples of kor alone" in found.rows[2].metrics[0].signature
