"""Unicode forms through the encoder's engine: answers alike, spans in the caller's characters."""

import asyncio
import unicodedata
from itertools import pairwise

import pytest

from service.schemas import EmbedRequest, TagRequest
from tests.text import SENTENCES

FORMS = [unicodedata.normalize(form, SENTENCES["ko"][0]) for form in ("NFC", "NFD")]


def ask(engine, kind, request):
    return asyncio.run(engine.ask(kind, request))


def test_vectors_of_both_forms_are_equal(engine):
    texts = [*FORMS, f"\ufeff{FORMS[0]}\u200b"]
    vectors = [
        each["vector"] for each in ask(engine, "embed", EmbedRequest(texts=texts, language="ko"))
    ]
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)


def test_spans_are_of_the_text_as_it_was_given(engine):
    texts = [*FORMS, f"\ufeff{FORMS[0]}"]
    answers = ask(engine, "tag", TagRequest(texts=texts, language="ko", task="ner"))
    read = [
        [unicodedata.normalize("NFC", span["text"]) for span in each["spans"]] for each in answers
    ]
    assert read[0]
    assert read[0] == read[1] == read[2]
    for text, answer in zip(texts, answers, strict=True):
        spans = answer["spans"]
        assert all(text[span["start"] : span["end"]] == span["text"] for span in spans)
        assert all(a["end"] <= b["start"] for a, b in pairwise(spans))
