"""Fillers of masks and translators on one checkpoint: the same answers in fp32."""

from contextlib import ExitStack

import pytest

from benchmarks.experiment import Result
from benchmarks.kinds.fill_masks import FILLERS
from benchmarks.kinds.translators import TRANSLATORS, Translators
from benchmarks.tables import table
from langmod.errors import ConfigError
from tests.bases import make_base
from tests.text import SENTENCES

FP32 = "transformers fp32"


@pytest.fixture
def filling(small):
    return small(
        "fill-masks", base="tiny-encoder", languages=("mn", "ko", "kk"), systems=tuple(FILLERS),
        references=(FP32,), precision="fp32", rows=(1, 5), batch_sizes=(2,),
    )  # fmt: skip


def test_bare_fillers_say_the_same_words_and_modules_others(filling):
    result = Result.of(filling)
    for rows in (1, 5):
        alike = {
            point.arm: point.median("=") for point in result.points if point.setting == str(rows)
        }
        assert alike.keys() == FILLERS.keys()
        assert alike["langmod, bare"] == alike["Optimum fp32"] == alike[FP32] == rows
    assert alike["langmod"] < rows
    assert "| 5 | transformers bf16 | batch_size 2 |" in table(result)


def test_a_request_a_language_or_a_text_is_answered_alike(filling):
    (_, _), (_, inputs) = filling.settings()
    with ExitStack() as stack:
        ways = FILLERS["langmod"](filling, stack)
        first, second = (way(*inputs(0)) for way in ways.values())
    assert first == second


@pytest.fixture
def translating(models_folder, small):
    def made(**fields):
        usual = {
            "models": models_folder, "base": "tiny-translator", "source": "en", "target": "mn",
            "systems": tuple(TRANSLATORS), "references": (FP32,), "precision": "fp32",
        }  # fmt: skip
        return small("translators", **{**usual, **fields})

    return made


def test_translators_of_one_checkpoint_translate_alike(translating):
    points = translating(batches=((1, 1), (3, 2)), most_tokens=8).measure()
    for rows, own in ((1, points[:5]), (3, points[5:])):
        by_arm = {point.arm: point for point in own}
        assert by_arm["langmod, bare"].median("=") == by_arm[FP32].median("=") == rows
        ours, right = (by_arm[arm] for arm in ("langmod, bare", FP32))
        tokens = [point.median("tokens/s") / point.median("texts/s") for point in (ours, right)]
        assert tokens[0] == pytest.approx(tokens[1], rel=1e-2)


@pytest.fixture
def of_corpus(translating, tmp_path):
    corpus = tmp_path / "corpus" / "text" / "mn"
    corpus.mkdir(parents=True)
    lines = [line for own in SENTENCES.values() for line in own]
    (corpus / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return translating(
        corpus=tmp_path / "corpus", source="mn", target="en", threads=2, batches=((3, 1),),
        systems=("langmod", "langmod, bare", "CTranslate2 int8"), references=("langmod, bare",),
        batch_rows=(64, 256), batch_tokens=(1024,),
    )  # fmt: skip


def test_a_corpus_is_translated_alike_however_it_is_dealt(of_corpus):
    parts = of_corpus.parts(of_corpus.corpus, 3)
    texts = [line for part in parts for line in part]
    assert len(set(texts)) == len(texts) == 9
    with ExitStack() as stack:
        ways = TRANSLATORS["langmod, bare"](of_corpus, stack)
        first, *others = [way(texts, 1) for way in ways.values()]
    assert len(others) == 3
    assert all(each == first for each in others)
    assert len(set(first)) > 1


def test_every_repetition_has_other_sentences(of_corpus):
    result = Result.of(of_corpus)
    by_arm = {point.arm: point for point in result.points}
    assert by_arm["langmod, bare"].figures["="] == (6,)
    assert len(by_arm["CTranslate2 int8"].figures["tokens/s"]) == 2
    assert by_arm["langmod"].how.endswith(" rows")
    few = of_corpus.model_copy(update={"repetitions": 1000})
    with pytest.raises(ConfigError, match="sentences of 3003 are short enough"):
        few.measure()


def test_a_random_base_is_cut_where_the_end_would_be(translating, tmp_path, monkeypatch):
    make_base(tmp_path / "own" / "tiny", "translator")
    shape = {"width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "vocabulary": 700}
    asked = translating(
        models=tmp_path / "own", base="tiny", random=shape, batches=((3, 1), (2, 4)),
        most_tokens=9, repetitions=1,
        systems=("langmod, bare", "CTranslate2 int8", "Optimum int8", FP32),
    )  # fmt: skip
    lengths, write = [], Translators.write

    def noted(self, translations):
        lengths.extend(len([each for each in row if each > 2]) for row in translations)
        return write(self, translations)

    monkeypatch.setattr(Translators, "write", noted)
    points = asked.measure()
    assert set(lengths) == {1 + 9 + 1}
    alike = [point.median("=") for point in points]
    assert (alike[0], alike[3], alike[4], alike[7]) == (3, 3, 2, 2)
    pairs = [(point.median("tokens/s"), point.median("texts/s")) for point in points]
    assert all(tokens / texts == pytest.approx(10, rel=1e-2) for tokens, texts in pairs)
