"""The script of a text, Latin names and code in it put aside."""

import pytest

from langmod.scripts import main_script


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello", "Latn"),
        ("Ünïcôdé", "Latn"),
        ("Сайн уу", "Cyrl"),
        ("Монгол Улс: GNOME Shell", "Cyrl"),
        ("iPhone 15 프로 맥스", "Kore"),
        ("ㅋㅋㅋ", "Kore"),
        ("\u1112\u1161\u11ab", "Kore"),  # conjoining Jamo
        ("東京", "Hans"),
        ("東京へ", "Jpan"),
        ("カメラ", "Jpan"),
        ("我们 OK", "Hans"),
        ("नमस्ते", "Deva"),
        ("ئۇيغۇرچە", "Arab"),
        ("རྫོང་ཁ", "Tibt"),
        ("ᠮᠣᠩᠭᠣᠯ", "Mong"),
        ("สวัสดี", "Thai"),
        ("𐓏𐓘", "Zzzz"),  # Osage
        ("123, 45.6 %", None),
        ("🙂👩🏽‍🚀", None),
        ("\u200b", None),
        ("", None),
    ],
)
def test_main_script(text, script):
    assert main_script(text) == script
