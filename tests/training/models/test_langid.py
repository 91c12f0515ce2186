"""A fitted identifier is saved as it was scored, and its features are those it is served with."""

import random
from pathlib import Path

import numpy as np
import pytest

from langmod.langid import LanguageIdentifier, ngram_buckets
from tests.training.corpora import sentences, source, write_lines
from training.data.corpus import read_text
from training.models.langid import (
    LangidCard,
    LangidConfig,
    features,
    fit_langid,
    fit_temperature,
    window,
)

YAML = Path(__file__).parents[3] / "training" / "configs" / "langid.yaml"


@pytest.fixture(scope="module")
def fitted(small_corpus, tmp_path_factory) -> tuple[Path, LangidCard]:
    folder = tmp_path_factory.mktemp("langid")
    path = write_lines(folder / "more.txt", sentences("ko", 30, seed=9))
    values = {"corpus": str(small_corpus), "output": str(folder), "bits": 12, "epochs": 5}
    values["sources"] = [source(path, ["kor"], split="test")]
    return folder, fit_langid(LangidConfig.model_validate(values))


def test_shipped_config_loads():
    assert len(LangidConfig.load(YAML).sources) == 3 * 15 + 2 * 27 + 23 + 2


def test_saved_weights_answer_as_scored(fitted, small_corpus):
    folder, card = fitted
    identifier = LanguageIdentifier.load(folder)
    assert identifier.languages == card.languages == ("en", "ko", "mn")
    for scored in card.test:
        assert scored.accuracy == 1.0
        assert scored.mean_probability > 0.9
    for tag in card.languages:
        assert {found for found, _ in identifier.predict(read_text(small_corpus, tag, "test"))} == {
            tag
        }


def test_declared_sources_are_scored(fitted, small_corpus):
    _, card = fitted
    korean = next(scored for scored in card.test if scored.language == "ko")
    assert korean.texts == len(read_text(small_corpus, "ko", "test")) + 30


def test_card_is_written(fitted):
    folder, card = fitted
    assert LangidCard.model_validate_json((folder / "card.json").read_text("utf-8")) == card
    assert "mean over languages, test: 1.0000" in card.table()


def test_features_are_those_of_the_service():
    generator = np.random.default_rng(1)
    weights, bias = generator.normal(size=(2**10, 3)), generator.normal(size=3)
    texts = ["Улаанбаатар хот", "", "a", "모든 인간은"]
    identifier = LanguageIdentifier(["a", "b", "c"], weights, bias)
    served = np.stack([identifier.logits(text) for text in texts])
    np.testing.assert_allclose(features(texts, 10) @ weights + bias, served, atol=1e-4)
    assert features(texts, 10).sum(axis=1)[1] == 0
    assert len(ngram_buckets(texts[0], 10)) > 50


@pytest.mark.parametrize("size", [3, 10, 40])
def test_windows_are_words_of_the_text(size):
    generator = random.Random(1)
    text = "Бүх хүн төрөхдөө эрх чөлөөтэй байдаг"
    for _ in range(50):
        piece = window(text, size, generator)
        assert 0 < len(piece) <= size
        assert f" {piece}" in f" {text}"
        assert len(window("人人生而自由在尊严和权利上一律平等" * 3, size, generator)) == size


def test_temperature_undoes_a_scale():
    """Logits three times too large for their labels are divided by three."""
    generator = np.random.default_rng(1)
    tags = ("a", "b", "c")
    weights = np.eye(3)[np.arange(2**8) % 3] * 2
    texts = ["".join(generator.choice(list("абвгдеёжзийклмн"), size=12)) for _ in range(4000)]
    logits = np.stack([LanguageIdentifier(tags, weights, np.zeros(3)).logits(t) for t in texts])
    bias = -logits.mean(axis=0)  # equally many texts of each language
    chances = np.exp(logits + bias)
    chances /= chances.sum(axis=1, keepdims=True)
    labels = [generator.choice(tags, p=row / row.sum()) for row in chances.astype(float)]
    loud = LanguageIdentifier(tags, weights * 3, bias * 3)
    found = fit_temperature(loud, list(zip(texts, labels, strict=True)))
    assert found == pytest.approx(3, rel=0.1)
