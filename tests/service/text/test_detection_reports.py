"""Texts of public reports against other detectors, as docs/reports-tried.md lists them."""

from pathlib import Path

import pytest

from langmod.errors import UnsureLanguage
from langmod.langid import LanguageIdentifier
from service.settings import Settings
from service.text.detection import Choice, Detector

SHIPPED = Path(__file__).parents[3] / "models" / "langid"


@pytest.fixture(scope="module")
def detect():
    """The language of a text, any of the identifier's being served; None where it is refused."""
    identifier = LanguageIdentifier.load(SHIPPED)
    detector = Detector(identifier, Settings.model_fields["detection_threshold"].default)
    choice = Choice(identifier.languages, identifier.languages)

    def found(text):
        try:
            return detector.detect(text, choice)[0]
        except UnsureLanguage:
            return None

    return found


CHINESE_WITH_A_KEY = (
    "如果用于切换输入语言的本地键盘快捷键(如WIN + Space)被主机所捕获,"
    "您可能需要使用替代方法或配置远程机来正确识别这些快捷键."
)
KAZAKH = (
    "Адамдар жүретін жолдардағы пандустар көлбеуін төменде көрсетілгеннен асырмай алу қажет",
    "Балаларды жүзуге үйрету бассейнінің үй-жайы",
    "Биіктігі 50 м астам ғимараттардың өрт бөлігінде екі өрт лифтілерін көздеу қажет",
    "Көшіру-көбейту қызметінің үй-жайлары",
    "Мүмкіндігі шектеулі келушілер үшін қолжетімділік",
    "Үйірме бөлмелері және музыка кластары",
    "нормаланбайды  I, II",
)
SHAKESPEARE = (
    "From fairest creatures we desire increase, That thereby beauty's rose might never die, "
    "But as the riper should by time decease, His tender heir might bear his memory: "
)
MENU = "English Français Deutsch Español Italiano Português Türkçe Yorùbá Kiswahili Hausa Cymraeg "


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (CHINESE_WITH_A_KEY, "zh"),
        ("hello handsome man", "en"),
        ("Hi, I am good", "en"),
        ("Are you Dominant", "en"),
        ("El concepto que originó la creación de Pokémon surgió a raíz del pasatiempo", "es"),
        ("blast mango blast it", "en"),
        ("blast, mango blast it", "en"),
        *((text, "kk") for text in KAZAKH),
        ("привет Мир!", "ru"),
        (SHAKESPEARE * 3, "en"),
        (SHAKESPEARE * 300, "en"),
        ("这是中文 Д 再继续", "zh"),
        ("これは日本語 Я ", "ja"),
        ("Это русский текст", "ru"),
        ("Hello Ф world", "en"),
        ("한국어 text 입니다", "ko"),
    ],
)
def test_is_what_it_is(detect, text, tag):
    assert detect(text) == tag


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("Hi", {"en"}),
        ("Hello", {"en"}),
        ("Hola", {"es"}),
        ("Hoi", {"en"}),
        ("Ciao!", set()),
        ("Uno", {"es"}),
        ("Elle", {"en", "es"}),
        ("age", {"en"}),
        ("John Smith", {"en"}),
        ("La tua password non è corretta", set()),
        ("Ciao, mi chiamo Carlo e ho 18 anni. Oggi vorrei parlarvi della mia giornata.", set()),
        ("Je m’appelle Jessica. Je suis une fille, je suis française", set()),
        ("Michael Barry <michael.barry@example.com>", {"en"}),
        ("From:", {"en"}),
        ("<!--p\t{margin-top:0;\tmargin-bottom:0}-->", set()),
        (MENU * 3, {"en"}),
        ("東京", {"ja", "zh"}),
        ("愛", {"ja", "zh"}),
    ],
)
def test_is_what_it_is_or_refused(detect, text, allowed):
    assert detect(text) in {None, *allowed}
