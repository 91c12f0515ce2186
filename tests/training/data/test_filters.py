"""Text in, text out, for each filter; and the list itself."""

import pytest

from langmod.errors import ConfigError
from training.data import filters
from training.data.filters import EVALUATION_FILTERS, FILTERS, FilterOptions
from training.data.near_duplicates import NearDuplicates
from training.data.sources import Row

LONG = "Хүний эрхийн түгээмэл тунхаглал олон хэлээр орчуулагдсан билээ."


def row(*texts: str, tags: tuple[str, ...] = ("mn", "ko")) -> Row:
    return Row("s", tags[: len(texts)], texts, "s", None)


def run(name: str, *rows: Row, **options: object) -> list[tuple[str, ...]]:
    function = getattr(filters, name)
    return [kept.texts for kept in function(rows, FilterOptions.model_validate(options))]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("missing", " ", None),
        ("missing", "үг", "үг"),
        ("mojibake", "Ð£Ð»Ð°Ð°Ð½Ð±Ð°Ð°Ñ‚Ð°Ñ€", "Улаанбаатар"),
        ("mojibake", "l’humanitÃ© rÃ©unie", "l’humanité réunie"),
        ("mojibake", "Улаан\ufffdатар", None),
        ("mojibake", "Ọ̀rọ̀ wo ló wà lẹ́nu", "Ọ̀rọ̀ wo ló wà lẹ́nu"),
        ("normalise", "a\u0301  b\u00a0c\x07 ", "á b c"),
        ("normalise", "می\u200cخواهم", "می\u200cخواهم"),
        ("normalise", "ㄱ ﬁ ①", "ㄱ ﬁ ①"),
        ("markup", "<b>Монгол</b> &amp; Солонгос", "Монгол & Солонгос"),
        ("markup", "a < b ба c > d", "a < b ба c > d"),
        ("markup", "RT @user: сайн https://t.co/x уу", "сайн уу"),
        ("markup", r"нэг\nхоёр \"гурав\"", 'нэг хоёр "гурав"'),
        ("markup", "https://t.co/x", None),
        ("access_key", "_Нээх", "Нээх"),
        ("access_key", "Хад_галах", "Хадгалах"),
        ("access_key", "열기(_O)", "열기"),
        ("access_key", "pango_parse_markup нэр", "pango_parse_markup нэр"),
        ("repeated_letters", "ㅋㅋㅋㅋㅋㅋ 좋아", "ㅋㅋㅋ 좋아"),
        ("repeated_letters", "1000 ба ууу", "1000 ба ууу"),
        ("few_letters", "12:30 – 45%", None),
        ("few_letters", "हिन्दी में", "हिन्दी में"),
        ("length", "богино", None),
        ("length", "үг " * 300, None),
        ("length", LONG, LONG),
    ],
)
def test_one_text(name, text, expected):
    assert run(name, row(text)) == ([(expected,)] if expected is not None else [])


@pytest.mark.parametrize(
    ("name", "pair", "kept"),
    [
        ("missing", ("үг", ""), False),
        ("length", ("үг", "말"), False),
        ("length", ("үгс", "말들"), True),
        ("length", (LONG, "짧은 글"), False),
        ("untranslated", ("Linux", "linux"), False),
        ("untranslated", ("үг", "말"), True),
    ],
)
def test_pairs(name, pair, kept):
    assert bool(run(name, row(*pair))) == kept


def test_normal_form_by_language():
    assert run("normalise", row("ﬁ", tags=("ko",)), normalise={"ko": "NFKC"}) == [("fi",)]


@pytest.mark.parametrize(("mode", "expected"), [("keep", [("<b>үг</b>",)]), ("drop", [])])
def test_markup_modes(mode, expected):
    assert run("markup", row("<b>үг</b>"), markup=mode) == expected


def test_exact_duplicates_stay_within_their_languages():
    rows = row("Linux"), row("Linux"), row("Linux", tags=("ko",)), row("Linux", "리눅스")
    assert len(run("exact_duplicate", *rows)) == 3


def test_evaluation_text_does_not_displace_training_text():
    """The same row declared train and test is a leak for the splits to find, no duplicate."""
    rows = row(LONG)._replace(split="train"), row(LONG)._replace(split="test")
    assert len(run("exact_duplicate", *rows)) == 2


def test_near_duplicates():
    other = "Монгол улсын нийслэл Улаанбаатар хот нь Туул голын хөндийд оршдог."
    rows = [row(LONG), row(LONG.upper().replace(" ", "  ")), row(LONG + " Мөн."), row(other)]
    assert run("near_duplicate", *rows) == [(text.texts) for text in rows]
    assert run("near_duplicate", *rows, near_duplicate_threshold=0.8) == [(LONG,), (other,)]


def test_near_duplicate_index_separates_by_similarity():
    index = NearDuplicates(0.8)
    assert index.add("abcdefghij" * 5)
    assert not index.add("abcdefghij" * 5 + "!")
    assert index.add("")
    assert not index.add("...")


def test_language_needs_an_identifier_folder(tmp_path):
    with pytest.raises(ConfigError, match="no language identifier"):
        run("wrong_language", row(LONG), identifier=tmp_path)


def test_wrong_language(identifier):
    korean = "모든 인간은 태어날 때부터 자유로우며 존엄과 권리에 있어 동등하다"
    rows = row(LONG), row(korean), row("짧다"), row(LONG, korean), row(korean, LONG)
    kept = run("wrong_language", *rows, identifier=identifier)
    assert kept == [(LONG,), ("짧다",), (LONG, korean)]


def test_undetermined_language_is_named(identifier):
    rows = [row(LONG, tags=("und",))]
    options = FilterOptions(identifier=identifier)
    assert [found.languages for found in filters.wrong_language(rows, options)] == [("mn",)]


def test_every_filter_is_documented_and_named_once():
    names = [function.__name__ for function in FILTERS]
    assert len(set(names)) == len(names)
    assert all(function.__doc__ for function in FILTERS)
    assert set(EVALUATION_FILTERS) <= set(FILTERS)
