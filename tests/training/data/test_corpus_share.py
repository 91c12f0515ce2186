"""Parts of a corpus: nested, whole in what is scored, known by a digest of their own."""

import pytest

from langmod.errors import DataError
from training.data.corpus import (
    corpus_digest,
    corpus_languages,
    corpus_pairs,
    read_pairs,
    read_text,
)
from training.data.corpus_share import ShareConfig, share_corpus


def part(corpus, folder, **changes):
    settings = {"corpus": corpus, "languages": ["khk", "eng"], "output": folder}
    share_corpus(ShareConfig.model_validate(settings | changes))
    return folder


def test_a_smaller_share_lies_within_a_larger_one(small_corpus, tmp_path):
    half = part(small_corpus, tmp_path / "half", share=0.5)
    eighth = part(small_corpus, tmp_path / "eighth", share=0.125)
    whole = read_text(small_corpus, "mn", "train")
    texts = [read_text(each, "mn", "train") for each in (half, eighth)]
    assert [len(each) for each in texts] == [round(len(whole) * 0.5), round(len(whole) * 0.125)]
    assert set(texts[1]) < set(texts[0]) < set(whole)
    assert texts[0] == [line for line in whole if line in set(texts[0])]
    assert read_text(half, "mn", "test") == read_text(small_corpus, "mn", "test")
    assert len(read_pairs(half, "mn", "en", "train")) == 20
    assert len({corpus_digest(each) for each in (small_corpus, half, eighth)}) == 3


def test_languages_and_lines_are_counted_out(small_corpus, tmp_path):
    few = part(small_corpus, tmp_path / "few", languages=["kor"], most=7)
    assert corpus_languages(few) == ["ko"]
    assert corpus_pairs(few) == []
    assert len(read_text(few, "ko", "train")) == 7
    part(small_corpus, few, languages=["kor"], most=5)
    assert len(read_text(few, "ko", "train")) == 5
    with pytest.raises(DataError, match="has no text of fra"):
        part(small_corpus, tmp_path / "none", languages=["fra"])
