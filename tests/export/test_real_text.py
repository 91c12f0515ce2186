"""Real texts through torch and the graphs of 8 bits, by language and with a module."""

import json
import lzma
import shutil

import pytest

from export import real_text
from export.parity import ParityError
from export.real_text import compare_precisions, save_comparison
from langmod.errors import ConfigError
from tests.service.published import TOPICS, publish
from tests.text import SENTENCES


@pytest.fixture
def texts(tmp_path):
    for tag in ("ko", "mn"):
        rows = [f"{TOPICS[n % len(TOPICS)]}\t{text}\n" for n, text in enumerate(SENTENCES[tag])]
        with lzma.open(tmp_path / f"{tag}.tsv.xz", "wt", encoding="utf-8") as file:
            file.writelines(rows)
    return f"{tmp_path}/{{language}}.tsv.xz"


def test_vectors_and_labels_are_compared_by_language(tiny_encoder, texts, tmp_path):
    base = tmp_path / tiny_encoder.name
    shutil.copytree(tiny_encoder, base)
    publish(
        base, "topic-x", "task", "bottleneck+classify", task="topic", kind="classify", labels=TOPICS
    )
    found = compare_precisions(base, "int8", texts, ["ko", "mn"], "topic-x")
    assert [each.language for each in found.languages] == ["ko", "mn"]
    for each in found.languages:
        assert 0.99 < each.worst_cosine < each.mean_cosine < 1
        assert each.same_labels > 0.7
        assert 0 <= each.torch_accuracy <= 1
    save_comparison(found, tmp_path / "out" / "a.json")
    assert json.loads((tmp_path / "out" / "a.json").read_text())["module"] == "topic-x"
    exact = compare_precisions(base, "fp32", texts, ["ko"], None)
    assert exact.languages[0].worst_cosine == pytest.approx(1, abs=1e-5)
    assert exact.languages[0].torch_accuracy is None


def test_vectors_too_far_apart_are_refused(tiny_encoder, texts, monkeypatch):
    monkeypatch.setattr(real_text, "NEAREST", 0.9999999)
    with pytest.raises(ParityError, match=r"further from torch than cosine .* in: ko, mn"):
        compare_precisions(tiny_encoder, "int8", texts, ["ko", "mn"], None)


def test_a_file_that_is_not_there_is_named(tiny_encoder, texts):
    with pytest.raises(ConfigError, match=r"eng\.tsv\.xz: no such file"):
        compare_precisions(tiny_encoder, "fp32", texts, ["eng"], None)
