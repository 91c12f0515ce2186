"""Labelled text from files: labels in columns, in JSON, and spans."""

import json

import pytest

from langmod.errors import DataError
from training.data.task_data import TaskSettings, labels_of, read_examples

REQUESTS = (
    {"text": "wake me at nine", "intent": "alarm_set", "spans": [[11, 15, "time"]]},
    {"text": "play jazz", "intent": "music_play", "spans": [[5, 9, "genre"]]},
)


def settings(tmp_path, kind, **changes):
    lines = [json.dumps(each) for each in REQUESTS]
    (tmp_path / "eng.train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    files = f"{tmp_path}/{{language}}.{{split}}.jsonl"
    return TaskSettings(name="a", kind=kind, languages=("eng",), files=files, **changes)


def test_one_file_gives_labels_of_texts_and_spans(tmp_path):
    whole = settings(tmp_path, "classify", label="intent")
    examples = read_examples(whole, "eng", "train")
    assert [(each.text, each.reference, each.language) for each in examples] == [
        ("wake me at nine", "alarm_set", "en"),
        ("play jazz", "music_play", "en"),
    ]
    assert labels_of(whole, examples) == ("alarm_set", "music_play")
    parts = settings(tmp_path, "tag")
    examples = read_examples(parts, "eng", "train")
    assert [each.reference for each in examples] == [[(11, 15, "time")], [(5, 9, "genre")]]
    assert labels_of(parts, examples) == ("O", "B-genre", "I-genre", "B-time", "I-time")


def test_a_line_without_the_label_is_named(tmp_path):
    with pytest.raises(DataError, match=r"eng\.train\.jsonl.*1.*no labelled text.*mood"):
        read_examples(settings(tmp_path, "classify", label="mood"), "eng", "train")
