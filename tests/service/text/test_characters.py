"""What is read of a text, and where its characters came from: text in, text out."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.characters import clean, has_letters, is_blank

FAMILY = "👩‍👩‍👧‍👦"
WAVE = "👋🏽"


@pytest.mark.parametrize(
    ("given_text", "read"),
    [
        ("Монгол", "Монгол"),
        ("\ufeffМонгол", "Монгол"),
        ("Мон\u00adгол", "Монгол"),
        ("Мон\u200bгол", "Монгол"),
        ("\u202bئۇيغۇر\u202c\u200f", "ئۇيغۇر"),
        ("\u2066ئۇيغۇر\u2069", "ئۇيغۇر"),
        (unicodedata.normalize("NFD", "한국어"), "한국어"),
        ("\u1112\u1161\u11ab", "한"),
        ("й и\u0306", "й й"),
        ("a\u200b\u0301", "á"),
        ("a\x00b\x07c\x9fd", "abcd"),
        ("a\tb\nc\r\nd\x85e", "a\tb\nc\r\nd\x85e"),
        ("क्\u200dष", "क्\u200dष"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        (FAMILY + WAVE, FAMILY + WAVE),
        ("❤\ufe0f", "❤\ufe0f"),
        ("ᠮᠣᠩᠭᠣᠯ\u180eᠠ", "ᠮᠣᠩᠭᠣᠯ\u180eᠠ"),
        ("a\ud800b", "a\ufffdb"),
        ("ﬁ ①", "ﬁ ①"),
    ],
)
def test_what_is_read(given_text, read):
    assert clean(given_text).text == read


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff", "\u200b \ufeff\n", "\u00ad", "\x00"])
def test_blank(text):
    assert is_blank(clean(text).text)


@pytest.mark.parametrize("text", ["a", "\u200bа", ".", "👍", "한", "\ufffd"])
def test_not_blank(text):
    assert not is_blank(clean(text).text)


@pytest.mark.parametrize(("text", "letters"), [("1 + 2", False), ("👍", False), ("5 кг", True)])
def test_letters(text, letters):
    assert has_letters(text) == letters


@pytest.mark.parametrize(
    ("text", "word", "own"),
    [
        ("I saw Seoul.", "Seoul", "Seoul"),
        (unicodedata.normalize("NFD", "나는 서울에 산다."), "서울", None),
        ("나는 서울에 산다.", "서울", "서울"),
        ("\ufeffМонгол улс", "улс", "улс"),
        ("\ufeffМонгол улс", "Монгол", "Монгол"),
        ("Улаан\u00adбаатар хот", "Улаанбаатар", "Улаан\u00adбаатар"),
        (f"{FAMILY} Бат {WAVE}", "Бат", "Бат"),
        (f"{FAMILY} Бат {WAVE}", "\N{WAVING HAND SIGN}", WAVE),
        (f"{FAMILY} Бат", "\N{WOMAN}", FAMILY),
        ("е\u0301е\u0301 Café", "Café", "Café"),
        ("Cafe\u0301 x", "Café", "Cafe\u0301"),
    ],
)
def test_spans_are_the_callers_own_characters(text, word, own):
    found = clean(text)
    at = found.text.index(word)
    start, end = found.given_span(at, at + len(word))
    assert text[start:end] == (own or unicodedata.normalize("NFD", word))


@given(st.text(max_size=40))
def test_both_forms_are_read_alike_and_every_character_has_an_origin(text):
    found = clean(text)
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert [clean(form).text for form in forms] == [found.text] * 2
    assert clean(found.text).text == found.text
    places = [found.given_span(at, at + 1) for at in range(len(found.text))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)
