"""What must survive: what is found in a text, and that a translation holds it whatever happens."""

import pytest

from service.text.marks import digits, find_marks, mend, placeholders, without_tags
from tests.service.text.driving import lossy, shouted, translated


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello {name}, {0} and {{x}}", ["{name}", "{0}", "{{x}}"]),
        ("${user.name} #{x} %{count} @{y}", ["${user.name}", "#{x}", "%{count}", "@{y}"]),
        ("{n, plural, one {# x} other {# y}}!", ["{n, plural, one {# x} other {# y}}"]),
        ("%s %d %1$s %-5.2f %'d %ld %zu %% %@ %(n)s %*d",
         ["%s", "%d", "%1$s", "%-5.2f", "%'d", "%ld", "%zu", "%%", "%@", "%(n)s", "%*d"]),
        ("Set point %1 of %2", ["%1", "%2"]),
        ("100% sure, 50% of", ["100", "50"]),
        ("$HOME $1 $(ERR) $feature$", ["$HOME", "$1", "$(ERR)", "$feature$"]),
        ("%PRODUCTNAME %PRODUCTNAME%", ["%PRODUCTNAME", "%PRODUCTNAME%"]),
        ("See https://a.mn/b?c=1&d=2. Or", ["https://a.mn/b?c=1&d=2"]),
        ("(www.x.mn/y), ok", ["www.x.mn/y"]),
        ("bat.dorj+x@mail.gov.mn, now", ["bat.dorj+x@mail.gov.mn"]),
        ("a &amp; b &#39; &#xA0; AT&T", ["&amp;", "&#39;", "&#xA0;"]),
        (r"first\nsecond\t", [r"\n", r"\t"]),
        ("👍🏽 🇲🇳 👩‍🚀 ❤️ 1️⃣ © ™", ["👍🏽", "🇲🇳", "👩‍🚀", "❤️", "1️⃣"]),
        ("11:29, 1,000.50, 2026-11-28, ١٢, ༡༢", ["11:29", "1,000.50", "2026-11-28", "١٢", "༡༢"]),
        ("no marks at all", []),
    ],
)  # fmt: skip
def test_what_is_found(text, found):
    assert [mark.output for mark in placeholders(text)] == found


def test_tags_are_taken_out_of_plain_text():
    text, tags = without_tags('Press <b>Save</b><br/> <a href="x">now</a> if 1 < 2 > 0 <3')
    assert text == "Press Save now if 1 < 2 > 0 <3"
    assert [(tag.start, tag.kind, tag.output) for tag in tags] == [
        (6, "open", "<b>"),
        (10, "close", "</b>"),
        (10, "point", "<br/>"),
        (11, "open", '<a href="x">'),
        (14, "close", "</a>"),
    ]


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("1,000.50", "1 000,50"),
        ("1,000", "1000"),
        ("11:29", "11 цаг 29 минут"),
        ("12", "༡༢"),
        ("12", "१२"),
        ("2026-11-28", "2026 оны 11 сарын 28"),
        ("1000", "1 000"),
    ],
)
def test_numbers_are_the_same_however_written(number, written):
    marks = placeholders(number)
    assert find_marks(number, marks, f"abc {written} abc")
    assert not find_marks(number, marks, "abc 7 abc")


@pytest.mark.parametrize(("number", "written"), [("1", "10"), ("29", "129"), ("%1", "%10")])
def test_a_number_is_not_a_part_of_another(number, written):
    assert not find_marks(number, placeholders(number), f"abc {written} abc")


@pytest.mark.parametrize(
    ("source", "slip", "mended"),
    [
        ("open %1$s now", "ABC % 1 $ s", "ABC %1$s"),
        ("hello {name}", "ABC { NAME }", "ABC {name}"),
        ("see $HOME", "ABC $home", "ABC $HOME"),
        ("at https://a.mn/b", "ABC https: //a.mn/b", "ABC https://a.mn/b"),
        ("at 11:29 on 5", "5 ABC 11:19", "5 ABC 11:29"),
        ("5 and 7", "ABC 1 ABC 2", "ABC 1 ABC 2"),
        ("all of it", "ABC 3", "ABC 3"),
    ],
)
def test_slips_are_mended_where_that_is_certain(source, slip, mended):
    assert mend(source, placeholders(source), slip) == mended


def test_digits_of_any_script():
    assert digits("١٬٠٠٠") == digits("1,000") == digits("༡༠༠༠") == "1000"


STRINGS = [
    "Hello {name}, welcome back",
    "Moving %'d file to “%s”",
    'Error setting name for workspace %d to "%s": %s',
    'Could not copy file "$1" to "$2".',
    "Set reference point for %1",
    "$(ERR) searching for an address",
    "Page %d of %d",
    "%(count)s items in ${folder}",
    "Press <b>Save</b> to keep the file",
    'Read the <a href="https://a.mn/b?c=d&e=f">manual of {tool}</a> first',
    "Mail bat@example.mn or see https://example.mn/x?y=1.",
    "The meeting is at 11:29 on 2026-11-28 in room 7",
    "You have 1,000.50 left of 2,000",
    "Terms &amp; conditions of %PRODUCTNAME",
    "First line\\nsecond line {0}",
    "Good morning 👋🏽 from 🇲🇳",
    "{n, plural, one {# file} other {# files}} were moved",
    "<p>One <i>small</i> step</p>",
    "Open %s",
    "%s",
    "%1$s sent %2$s to %1$s",
]


@pytest.mark.parametrize("translate", [shouted, lossy, str.lower, lambda text: "nothing of it",
                                       lambda text: "", lambda text: text[::-1]])  # fmt: skip
@pytest.mark.parametrize("text", STRINGS)
def test_everything_survives_any_translator(text, translate):
    answer = translated(text, translate).drafts[0].text
    plain, tags = without_tags(text)
    marks = placeholders(plain)
    written, written_tags = without_tags(answer)
    assert len(find_marks(plain, marks, written)) == len(marks)
    assert sorted(tag.output for tag in written_tags) == sorted(tag.output for tag in tags)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Press <b>Save</b> now", "PRESS <b>SAVE</b> NOW"),
        ("<b>Press save</b> now", "<b>PRESS SAVE</b> NOW"),
        ("<p>all of it</p>", "<p>ALL OF IT</p>"),
        ("a <b>bold <i>and</i></b> b", "A <b>BOLD <i>AND</i></b> B"),
        ("open <b>%s</b> now", "OPEN <b>%s</b> NOW"),
        ("one <img src=x/> two", "ONE <img src=x/> TWO"),
        ("one</b> two", "ONE</b> TWO"),
        ("<b>one. Two</b> three", "<b>ONE. TWO</b> THREE"),
    ],
)
def test_tags_stay_with_their_words(text, answer):
    assert translated(text).drafts[0].text == answer


def test_a_tag_goes_with_its_word_to_another_place():
    def turned(text):
        return {"Save the file": "файлыг хадгална", "file": "файл", "Save": "хадгалах"}[text]

    answer = translated("Save the <b>file</b>", turned).drafts[0].text
    assert answer == "<b>файлыг</b> хадгална"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Ask Bat-Erdene of MIAT", "ASK Bat-Erdene OF MIAT"),
        ("Bat-Erdene", "Bat-Erdene"),
        ("no such name", "NO SUCH NAME"),
    ],
)
@pytest.mark.parametrize("translate", [str.upper, lossy])
def test_what_the_caller_names_is_kept(text, answer, translate):
    assert translated(text, translate, keep=("Bat-Erdene",)).drafts[0].text == answer


def test_nothing_is_looked_for_where_nothing_must_survive():
    asked = []
    answer = translated("Open %s <b>7</b>", lossy, marks=False, asked=asked).drafts[0].text
    assert asked == [["Open %s <b>7</b>"]]
    assert answer == "OPEN S <B><B>"
