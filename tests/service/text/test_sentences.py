"""Where sentences end, and where a sentence is cut that is too long: text in, parts out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.sentences import middle, parts_that_fit, sentence_spans
from tests.service.text.driving import translated


def split(line, language, kept=()):
    return [line[start:end] for start, end in sentence_spans(line, language, kept)]


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["Mr. Smith went home.  ", "It was 3.5 km away! ", "Was it?"]),
        ("en", ["He lives in the U.S. and works there. ", "She does not."]),
        ("mn", ["Би Улаанбаатарт амьдардаг. ", "Чи хаана амьдардаг вэ? ", "Сайн уу!"]),
        ("mn", ["Ерөнхийлөгч Ц.Элбэгдорж ирэв. ", "Тэр 2009 онд сонгогдсон."]),
        ("mn", ["Зохиолч Ч. Лодойдамба 1917 онд төржээ. ", "Тэр олон ном бичсэн."]),
        ("kk", ["Ақын А. Құнанбайұлы 1845 жылы туған. ", "Ол көп өлең жазды."]),
        ("ko", ["안녕하세요. ", "저는 학생입니다! ", "당신은요?"]),
        ("tr", ["Dr. Yılmaz geldi. ", "Sonra gitti."]),
        ("eu", ["Kaixo. ", "Zer moduz zaude?"]),
        ("rw", ["Muraho. ", "Amakuru yawe?"]),
        ("zh-Hans", ["你好。", "我是学生！", "你呢？"]),
        ("ja", ["こんにちは。", "学生です。"]),
        ("hi", ["मैं घर गया। ", "तुम कहाँ हो?"]),
        ("ug", ["مەن كەلدىم. ", "سەن قانداق؟ ", "ياخشى."]),
        ("dz", ["བཀྲ་ཤིས་བདེ་ལེགས། ", "ཁྱེད་རང་ག་དེ་འདྲ། ", "ང་བདེ།"]),
        ("bug", ["Engka tau. ", "Engka."]),
        ("en", ["no end at all"]),
        ("en", []),
    ],
)
def test_sentences_of_a_line(language, sentences):
    assert split("".join(sentences), language) == sentences


def test_nothing_ends_inside_what_is_kept():
    line = "See https://a.mn/b. C. D. It works."
    assert split(line, "en", [(4, 25)])[0].startswith("See https://a.mn/b. C. D.")


@given(st.text(max_size=60), st.sampled_from(["en", "mn", "ko", "zh", "dz", "xx"]))
def test_sentences_together_are_the_line(line, language):
    line = " ".join(line.splitlines())
    assert "".join(split(line, language)) == line


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [
        ("short", 10, ["short"]),
        ("one two, three four five", 16, ["one two, ", "three four five"]),
        ("one two three four", 10, ["one two ", "three four"]),
        ("неделимоеслово", 8, ["неделим", "оеслово"]),
        ("a https://example.mn/long b", 9, ["a ", "https://example.mn/long ", "b"]),
    ],
)
def test_long_texts_are_cut_at_the_best_place(text, size, parts):
    start = text.find("https")
    kept = [(start, start + 23)] if start >= 0 else []
    spans = parts_that_fit(text, lambda each: len(each.strip()) <= size, kept)
    assert [text[a:b] for a, b in spans] == parts


def test_characters_are_not_torn_apart():
    family = "👩‍👩‍👧‍👦"
    assert middle(family) is None
    assert middle(family * 2) == len(family)


@given(st.text(min_size=1, max_size=80), st.integers(1, 20))
def test_parts_together_are_the_text(text, size):
    spans = parts_that_fit(text, lambda each: len(each) <= size)
    assert "".join(text[a:b] for a, b in spans) == text


@pytest.mark.parametrize(
    ("text", "expected", "sentences"),
    [
        ("one. two.", "ONE. TWO.", 2),
        ("one.  Two!\n\n\tthree?\r\n", "ONE.  TWO!\n\n\tTHREE?\r\n", 3),
        ("  one \n", "  ONE \n", 1),
        ("- one\n- two\n  * three", "- ONE\n- TWO\n  * THREE", 3),
        ("1. one\n2) two", "1. ONE\n2) TWO", 2),
        ("# one\n> two", "# ONE\n> TWO", 2),
        ("a\u2028b\x85c", "A\u2028B\x85C", 3),
        ("123\n...\n👍", "123\n...\n👍", 3),
        ("", "", 0),
        ("word " * 60 + "end.", "WORD " * 60 + "END.", 1),
        ("x" * 200, "X" * 200, 1),
    ],
)
def test_lines_and_white_space_are_put_back(text, expected, sentences):
    found = translated(text)
    assert (found.drafts[0].text, found.sentences) == (expected, sentences)


def test_translations_of_a_script_without_spaces_are_set_apart():
    english = {"你好。": "Hello.", "我是学生！": "I am a student!", "你呢？": "You?"}
    found = translated("你好。我是学生！你呢？", english.__getitem__, language="zh")
    assert found.drafts[0].text == "Hello. I am a student! You?"


def test_what_holds_no_letters_is_not_asked_for():
    asked = []
    assert translated("12.5 %\n😀\n---", asked=asked).drafts[0].text == "12.5 %\n😀\n---"
    assert asked == []


def test_all_sentences_are_asked_at_once():
    asked = []
    translated("one. two.\nthree. " + "four " * 20, asked=asked)
    assert len(asked) == 1
    assert len(asked[0]) == 5
