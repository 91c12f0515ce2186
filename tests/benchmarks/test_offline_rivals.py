"""Fillers of masks and translators of a corpus: one checkpoint, the same answers in fp32."""

import pytest

from benchmarks.experiment import BackTranslation, FillMaskRivals
from benchmarks.rivals.back_translators import BACK_TRANSLATORS
from benchmarks.rivals.fill_masks import FILLERS
from benchmarks.rivals.measure_offline import (
    chunks_of,
    masked_texts,
    measure_back_translation,
    measure_fillers,
)
from benchmarks.side_by_side import (
    BackTranslationPoint,
    BackTranslationResult,
    ChunkRun,
    FillMaskResult,
)
from benchmarks.tables import table
from langmod.errors import ConfigError
from tests.text import SENTENCES


@pytest.fixture
def filling(models):
    return FillMaskRivals(
        name="f", title="F", models=models, base="tiny-encoder", languages=("mn", "ko", "kk"),
        systems=tuple(FILLERS), reference="transformers fp32", aims={"Optimum int8": 3},
        precision="fp32", threads=1, rows=(1, 5), batch_sizes=(2,), repetitions=2,
    )  # fmt: skip


@pytest.fixture
def translating(models_folder, tmp_path):
    corpus = tmp_path / "corpus" / "text" / "mn"
    corpus.mkdir(parents=True)
    lines = [line for own in SENTENCES.values() for line in own]
    (corpus / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return BackTranslation(
        name="b", title="B", models=models_folder, base="tiny-translator",
        corpus=tmp_path / "corpus", language="mn", pivot="en", systems=tuple(BACK_TRANSLATORS),
        reference="langmod, bare", aims={"CTranslate2 int8": 1.5}, precision="fp32", threads=2,
        sentences=6, chunk=3, tried=2, most_tokens=40,
    )  # fmt: skip


def test_bare_fillers_say_the_same_words_and_modules_others(filling):
    found = {}
    texts = masked_texts(filling, 5)
    for name in ("langmod", "langmod, bare", "transformers fp32", "Optimum fp32"):
        with FILLERS[name](filling) as ways:
            answers = [way(texts) for way in ways.values()]
            assert all(each == answers[0] for each in answers)
            found[name] = [words[0].strip() for words in answers[0]]
    assert found["langmod, bare"] == found["transformers fp32"] == found["Optimum fp32"]
    assert found["langmod"] != found["langmod, bare"]


def test_fillers_are_measured_and_tabled(filling):
    result = measure_fillers(filling)
    assert FillMaskResult.model_validate_json(result.model_dump_json()) == result
    for rows in filling.rows:
        points = {point.system: point for point in result.of_batch(rows)}
        assert points.keys() == FILLERS.keys()
        assert points["langmod, bare"].alike == points["Optimum fp32"].alike == rows
        assert points["transformers bf16"].settings == "batch_size 2"
    assert "| Optimum int8 |" in table(result)
    assert "| ≥ 3 |" in table(result)


def test_languages_without_sentences_are_named(filling):
    with pytest.raises(ConfigError, match="xx: sentences"):
        masked_texts(filling.model_copy(update={"languages": ("mn", "xx")}), 2)


def test_a_corpus_is_translated_alike_however_it_is_dealt(translating):
    texts = [line for chunk in chunks_of(translating) for line in chunk]
    assert len(set(texts)) == len(texts) == 8
    with BACK_TRANSLATORS["langmod, bare"](translating) as ways:
        first, *others = [way(texts) for way in ways.values()]
    assert len(others) == 3
    assert all(each == first for each in others)
    assert len(set(first)) > 1


def test_translators_of_a_corpus_are_measured_and_tabled(translating, tmp_path):
    result = measure_back_translation(translating)
    assert BackTranslationResult.model_validate_json(result.model_dump_json()) == result
    points = {point.system: point for point in result.points}
    assert points.keys() == BACK_TRANSLATORS.keys()
    assert points["langmod, bare"].alike == 6
    assert all([run.sentences for run in each.runs] == [3, 3] for each in result.points)
    assert all(run.tokens > 0 for run in points["CTranslate2 int8"].runs)
    assert "| ≥ 1.5 |" in table(result)


def test_chunks_that_followed_one_another_are_compared(translating):
    def point(system, *seconds):
        runs = [ChunkRun(seconds=each, sentences=3, tokens=9) for each in seconds]
        return BackTranslationPoint(system=system, settings="", runs=tuple(runs), alike=0)

    points = (point("langmod", 1, 10, 2), point("x", 2, 10, 6))
    result = BackTranslationResult.model_construct(experiment=translating, points=points)
    assert result.ratio(points[1]) == pytest.approx(2.0)


def test_too_little_text_is_said(translating):
    with pytest.raises(ConfigError, match="sentences of 1002 are short enough"):
        chunks_of(translating.model_copy(update={"sentences": 1000}))
