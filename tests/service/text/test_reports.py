"""Inputs of other projects' public reports (docs/reports-tried.md): text in, text out.

The translator stands for the worst there is: it answers one sentence at a time, loses emoji, marks
and digits, and stops at its limit.
"""

import pytest

from service.text.marks import find_marks, placeholders, without_tags
from tests.service.text.driving import lossy, shouted, translated


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("¡Hola, Mundo! ¿Cómo estás?", 2),
        ("Hi George. Roy, got to talk to you.", 2),
        ("The missing mobster was at your wedding?\nThe whole town is looking for him.", 2),
        ("It is necessary to develop it. This society is based on a fleet of starships.", 2),
        ("I am a test\n\nI am a test\n\nI am a test", 3),
        ("When mentioned nothing happens but with a command it works. Is it the mention?", 2),
    ],
)
def test_no_sentence_is_lost(text, sentences):
    asked = []
    found = translated(text, asked=asked, language="en")
    assert found.sentences == len(asked[0]) == sentences
    assert found.drafts[0].text == text.upper()


def test_more_than_thirty_two_sentences_are_translated():
    assert translated("One more. " * 100).drafts[0].text == "ONE MORE. " * 100


def test_a_long_sentence_is_translated_to_its_end():
    text = "Es war deshalb fast schon ein bisschen drollig, " * 12 + "applaudierten."
    assert translated(text, language="de").drafts[0].text == text.upper()


@pytest.mark.parametrize(
    "text",
    [
        "Haha, japp, de ligger i min frys. 😆 Gissar på att de kom med bilen.",
        "Hello! 😊 How are you?",
        "I love dogs 🐶",
        "🌷🌷🌷🌷 🌷",
        "Hello %1$s, good to see you again!",
        "This person name is {{person.name}} and is living in {{person.city}}",
        'Je souhaite rendre <span style="color:%2$s;">%1$s</span> dabbas à mon commerçant',
        "I'm on https://test.com/ now",
        "My email address is user@example.org",
        "My phone number is +447378099903",
        "Het is 19:30 in Utrecht",
    ],
)
@pytest.mark.parametrize("translate", [lossy, shouted])
def test_what_reports_lost_is_there(text, translate):
    answer = translated(text, translate, language="en").drafts[0].text
    plain, tags = without_tags(text)
    written, kept = without_tags(answer)
    assert len(find_marks(plain, placeholders(plain), written)) == len(placeholders(plain))
    assert [tag.output for tag in kept] == [tag.output for tag in tags]


@pytest.mark.parametrize(
    ("html", "answer"),
    [
        ("<p>hello</p>", "<p>HELLO</p>"),
        ('Hi <a href="javascript:void">test</a> ok', 'HI <a href="javascript:void">TEST</a> OK'),
        ("<!-- wp:paragraph --><p>word</p>", "<!-- wp:paragraph --><p>WORD</p>"),
        ("<b>Zeit sparen<br/></b>durch", "<b>ZEIT SPAREN<br/></b>DURCH"),
        (
            "<em><span><strong>Text</strong></span></em>",
            "<em><span><strong>TEXT</strong></span></em>",
        ),
    ],
)
def test_markup_of_reports_is_kept(html, answer):
    assert translated(html, str.upper, html=True).drafts[0].text == answer


def test_white_space_in_html_is_none_to_the_translator():
    asked = []
    page = "<p>\n\t\tWenn eine Zeile kein Verb\n\t\tenthält, ist sie falsch.\n\t</p>"
    answer = translated(page, asked=asked, html=True, language="de").drafts[0].text
    assert asked == [["Wenn eine Zeile kein Verb enthält, ist sie falsch."]]
    assert answer.startswith("<p>\n\t\tWENN")
    assert answer.endswith("\n\t</p>")
