"""A glossary's words are in the translation, whatever the model says."""

import pytest

from service.text.likeness import find_like
from tests.service.text.driving import lossy, translated


def model(text):
    """Knows a few phrases, and puts what it knows into an order of its own."""
    known = {
        "Open the file now": "одоо файлыг нээ",
        "Open the files now": "одоо файлуудыг нээ",
        "file": "файл",
        "files": "файлууд",
        "Save the document": "хадгална",
        "document": "баримт",
        "Save the бичиг": "бичиг хадгална",
    }
    return known.get(text, text.upper())


@pytest.mark.parametrize(
    ("text", "glossary", "answer"),
    [
        # The model's word gives way, its ending stays.
        ("Open the file now", {"file": "баримт"}, "одоо баримтыг нээ"),
        ("Open the files now", {"files": "баримтууд"}, "одоо баримтуудыг нээ"),
        # The model says it already.
        ("Open the file now", {"file": "файл"}, "одоо файлыг нээ"),
        # Lost, but copied where it stands in the source.
        ("Save the document", {"document": "бичиг"}, "бичиг хадгална"),
        # Only whole words, the longest first.
        ("The profile", {"file": "баримт"}, "THE PROFILE"),
        ("file menu", {"file": "x", "file menu": "цэс"}, "цэс"),
        ("no such word", {"file": "баримт"}, "NO SUCH WORD"),
        # A capital at the beginning is the model's to give.
        ("File", {"file": "баримт"}, "баримт"),
    ],
)
def test_the_glossary_is_followed(text, glossary, answer):
    assert translated(text, model, glossary=glossary).drafts[0].text == answer


@pytest.mark.parametrize("translate", [lossy, str.upper, lambda text: "", lambda text: "үг"])
def test_a_term_is_there_whatever_the_translator_does(translate):
    answer = translated("Open the file of %s now", translate, glossary={"file": "Баримт"})
    assert answer.drafts[0].text.casefold().count("баримт") == 1
    assert answer.drafts[0].text.count("%s") == 1


def test_words_with_endings_are_found_in_a_source_that_has_them():
    answer = translated("Файлыг нээ", str.upper, language="mn", glossary={"файл": "document"})
    assert "document" in answer.drafts[0].text


def test_terms_are_escaped_in_html():
    answer = translated("<p>the file</p>", str.upper, html=True, glossary={"file": "a < b"})
    assert answer.drafts[0].text == "<p>THE a &lt; b</p>"


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("файл", "одоо файлыг нээ", "файлыг"),
        ("баримт бичиг", "энэ баримт бичгийг нээ", "баримт бичгийг"),
        ("파일", "지금 파일을 여세요", "파일을"),
        ("文件", "现在打开文件。", "文件"),
        ("igitabo", "Soma ibitabo byose", "ibitabo"),
        ("файл", "одоо нээ", None),
        ("", "одоо нээ", None),
        ("a", "as a cat", "a"),
    ],
)
def test_forms_of_a_phrase_are_found(phrase, text, found):
    span = find_like(phrase, text, 0.5)
    assert (span and text[slice(*span)]) == found
