"""What people write in a few words gets its language, or an honest refusal."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from langmod.errors import UnsureLanguage
from langmod.langid import LanguageIdentifier
from service.settings import Settings
from service.text.detection import Choice, Detector

SHIPPED = Path(__file__).parents[3] / "models" / "langid"
MINI = ("mn", "ko", "en", "kk", "tr", "eu", "rw")


@pytest.fixture(scope="module")
def identifier():
    return LanguageIdentifier.load(SHIPPED)


@pytest.fixture(scope="module")
def detector(identifier):
    return Detector(identifier, Settings.model_fields["detection_threshold"].default)


@pytest.fixture(params=["mini", "all"])
def choice(request, identifier):
    served = MINI if request.param == "mini" else identifier.languages
    return Choice(served, served)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("Hello", "en"),
        ("Thank you", "en"),
        ("Good morning", "en"),
        ("Settings", "en"),
        ("Merhaba", "tr"),
        ("Teşekkür ederim", "tr"),
        ("Сайн байна уу", "mn"),
        ("Баярлалаа", "mn"),
        ("Сәлеметсіз бе", "kk"),
        ("안녕", "ko"),
        ("한", "ko"),
        ("ㅋㅋㅋ", "ko"),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "ko"),
        ("Eskerrik asko", "eu"),
        ("see https://сайт.example/зам or mail a@b.example", "en"),
        ("<b>안녕하세요</b> {name}", "ko"),
        ("iPhone 15 프로 맥스", "ko"),
    ],
)
def test_short_texts(detector, choice, text, tag):
    assert detector.detect(text, choice)[0] == tag


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        "Hi",
        "OK",
        "Merhaba",
        "Ankara",
        "Рахмет",
        "Ulaanbaatar",
        "Hola",
        "Yes",
        "No",
        "Error",
        "Menu",
        "Seoul",
    ],
)
def test_short_texts_are_not_taken_for_small_languages(detector, choice, text):
    try:
        tag, _ = detector.detect(text, choice)
    except UnsureLanguage:
        return
    assert tag in {"en", "tr", "es", "kk", "mn", "ru"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("123", "no letters"),
        ("🙂", "no letters"),
        ("{name} https://example.org", "no letters"),
        ("สวัสดีครับ", "in Thai script, in which nothing is served"),
        ("ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ", "in Mongolian script, in which nothing is served"),
        ("Γειά σου Κόσμε", "in Greek script"),
        ("Bonjour tout le monde, comment allez-vous aujourd'hui ?", "detected French ('fr') with"),
        ("Guten Morgen, wie geht es Ihnen heute?", "detected German ('de') with"),
        ("Привіт, як справи? Дякую, все добре.", "detected Ukrainian ('uk') with"),
    ],
)
def test_what_is_not_served_is_said(detector, choice, text, told):
    with pytest.raises(UnsureLanguage, match="name `language`, one of: ") as caught:
        detector.detect(text, choice)
    assert told in caught.value.message
    assert caught.value.details["possible"] == sorted(choice.possible)


def test_arabic_is_not_taken_for_uyghur(detector, identifier):
    everything = Choice(identifier.languages, identifier.languages)
    with pytest.raises(UnsureLanguage, match=r"detected .*Arabic.* with probability 0\.\d\d, next"):
        detector.detect("صباح الخير، كيف حالك اليوم؟ أتمنى لك يوما سعيدا", everything)
    assert detector.detect("ياخشىمۇسىز، بۈگۈن ھاۋا بەك ياخشى", everything)[0] == "ug"


def test_a_language_that_the_base_does_not_serve(detector):
    russian = "Все люди рождаются свободными и равными в своём достоинстве и правах."
    with pytest.raises(UnsureLanguage) as caught:
        detector.detect(russian, Choice(MINI, MINI, "source"))
    assert "detected Russian ('ru') with probability" in caught.value.message
    assert "name `source`, one of: en, eu, kk, ko, mn, rw, tr" in caught.value.message
    first = caught.value.details["detected"][0]
    assert first["language"] == "ru"
    assert first["probability"] > 0.9


def test_a_language_that_the_request_cannot_be_in(detector):
    with pytest.raises(UnsureLanguage, match="this cannot be answered in it; name `source`"):
        detector.detect("How do you do, my friend?", Choice(MINI, set(MINI) - {"en"}, "source"))


def test_the_threshold_is_what_is_asked_for(identifier):
    choice = Choice(MINI, MINI)
    tag, probability = Detector(identifier, 0).detect("Ankara", choice)
    assert Detector(identifier, probability - 1e-3).detect("Ankara", choice)[0] == tag
    with pytest.raises(UnsureLanguage, match="too unsure"):
        Detector(identifier, probability + 1e-3).detect("Ankara", choice)


def test_a_served_language_that_only_the_wider_identifier_knows(detector):
    choice = Choice((*MINI, "fr", "th"), (*MINI, "fr", "th"))
    assert detector.detect("Bonjour tout le monde, comment allez-vous ?", choice)[0] == "fr"
    assert detector.detect("สวัสดีครับ", choice)[0] == "th"


def test_long_texts_take_no_longer(detector, choice):
    """What lies far behind changes nothing, and no pattern runs away on text without a space."""
    hello = "Good morning, how are you today? "
    started = time.process_time()
    assert detector.detect(hello * 30_000, choice)[0] == "en"
    for text in ("a" * 300_000, "@" * 300_000, "{<" * 200_000, "<!--" * 99_999, "a@" * 99_999):
        with suppress(UnsureLanguage):
            detector.detect(text, choice)
    assert time.process_time() - started < 1
