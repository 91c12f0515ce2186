"""Tags as people write them, in the one form that is known everywhere."""

import pytest

from langmod.errors import BadRequest, UnknownLanguage, UnknownScript
from langmod.languages import canonical, requested, unserved

WRITTEN = {
    "mn": ["mn", "MN", "khk", "KHK", "mon", "mn-MN", "mn_MN", "mn-Cyrl", "mn-Cyrl-MN", "khk_Cyrl",
           "mn_MN.UTF-8", " mn "],
    "ko": ["ko", "kor", "ko-KR", "ko_KR", "ko-KP", "kor_Hang", "ko-Kore", "ko_KR.utf8"],
    "en": ["en", "eng", "en-US", "en_GB", "eng_Latn", "en-GB-oxendict", "en-US-u-ca-gregory"],
    "zh": ["zh", "zh_CN", "zh-CN", "zh-Hans", "zh-Hans-CN", "zho_Hans", "cmn", "chi", "zh-SG"],
    "zh-Hant": ["zh-Hant", "zh-TW", "zh_TW", "zh-HK", "zho_Hant"],
    "mn-Mong": ["mn-Mong", "mn_Mong", "mn-CN", "khk_Mong", "mn-Mong-CN"],
    "ja": ["ja", "jpn", "ja-JP", "jpn_Jpan", "ja-Hira"],
    "ug": ["ug", "uig", "uig_Arab", "ug-CN"],
    "ug-Cyrl": ["ug-Cyrl", "ug-KZ"],
    "kk": ["kk", "kaz", "kk-KZ", "kaz_Cyrl"],
    "kk-Arab": ["kk-CN", "kk-Arab"],
    "es": ["es", "spa", "es-419", "es_MX", "spa_Latn"],
    "gn": ["gn", "grn", "gug", "gug_Latn"],
    "ay": ["ay", "ayr", "ayr_Latn"],
    "sw": ["sw", "swh", "swa", "sw-KE"],
    "pt": ["pt", "pt-BR", "pt_PT"],
    "sr-Latn": ["sr-Latn", "sr_Latn", "sr-ME"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("written", "tag"), [(written, tag) for tag, forms in WRITTEN.items() for written in forms]
)
def test_tags_as_people_write_them(written, tag):
    assert canonical(written) == requested(written) == tag


@pytest.mark.parametrize("written", [None, "", "  ", "auto", "AUTO", "und"])
def test_nothing_and_auto_ask_for_detection(written):
    assert requested(written) is None


@pytest.mark.parametrize(
    "written", ["mongolian", "x-mine", "m", "mn--MN", "монгол", "not a tag", "*"]
)
def test_what_is_no_tag(written):
    with pytest.raises(BadRequest, match="is not a language tag"):
        canonical(written)


def test_another_script_is_refused_as_such():
    error = unserved("mn-Mong", ["en", "mn"])
    assert isinstance(error, UnknownScript)
    assert error.message == (
        "'mn-Mong': Mongolian is read and written here in Cyrillic script (as 'mn'), "
        "not in Mongolian"
    )
    assert error.details == {"got": "mn-Mong", "near": ["mn"]}
    assert not isinstance(unserved("mn-Mong", ["en"]), UnknownScript)
    assert isinstance(unserved("ky", ["kk"]), UnknownLanguage)
