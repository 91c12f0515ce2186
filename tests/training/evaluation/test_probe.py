"""What a probe says of an encoder's middle: retrieval, languages told apart, transfer."""

import numpy as np
import pytest

from adaptation.architectures import load_base
from langmod.errors import ConfigError
from langmod.specs import read_scores
from tests.bases import make_base
from tests.text import SENTENCES
from training.evaluation.probe import ProbeConfig, Reader, nearest, probe


def test_the_nearest_is_found_by_direction():
    left = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    right = np.array([[5, 0.1], [0.1, 0.9], [3, 0]], np.float32)
    # Left 0 lies nearer to right 2, and right 2 to left 0; left 2 is no one's nearest.
    assert nearest([left, right]) == pytest.approx((1 / 3, 2 / 3))
    assert nearest([left, left * 3]) == (1, 1)


def test_a_text_reads_alike_alone_and_among_others(base):
    reader = Reader(base, None)
    texts = [each for lines in SENTENCES.values() for each in lines]
    together = reader.vectors(texts)
    for place in (0, 7, 13):
        np.testing.assert_allclose(reader.vectors([texts[place]])[0], together[place], atol=1e-4)
    assert np.abs(together[0] - together[7]).max() > 0.1
    assert reader.depth == load_base(base).towers()[0].depth // 2


def test_languages_and_a_task_are_scored_where_they_are_asked_for(base, small_corpus, tmp_path):
    topics = {"en": ("the river", "a horse"), "mn": ("хот", "хүн")}
    for tag, words in topics.items():
        lines = [f"{label}\t{word} {n}" for n in range(6) for label, word in enumerate(words)]
        for split in ("train", "test"):
            (tmp_path / f"{tag}.{split}.tsv").write_text("\n".join(lines), encoding="utf-8")
    values = {
        "model": base,
        "corpus": small_corpus,
        "languages": ["eng", "khk"],
        "sentences": 12,
        "task": {
            "name": "topic",
            "kind": "classify",
            "languages": ["en", "mn"],
            "files": str(tmp_path / "{language}.{split}.tsv"),
        },
        "out": tmp_path / "out",
    }
    probe(ProbeConfig.model_validate(values))
    found = {(m.name, m.language): m.value for m in read_scores(tmp_path / "out")}
    assert found.keys() == {
        ("retrieval@1", "mn-en"),
        ("retrieval@1", "en-mn"),
        ("language_accuracy", None),
        ("topic_accuracy", "en"),
        ("topic_accuracy", "mn"),
    }
    assert found["language_accuracy", None] > 0.9, "two scripts"
    assert found["topic_accuracy", "en"] == 1, "it was fitted on the same texts"
    make_base(tmp_path / "translator", "translator")
    with pytest.raises(ConfigError, match="is a translator, wanted an encoder"):
        probe(ProbeConfig.model_validate(values | {"model": tmp_path / "translator"}))
