"""The shipped identifier knows the languages, wants little time, and refuses damaged files."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from langmod.errors import ConfigError
from langmod.langid import LanguageIdentifier, ngram_buckets

SHIPPED = Path(__file__).parents[2] / "models" / "langid"

# Article 1 of the Universal Declaration of Human Rights.
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "mn": "Хүн бүр төрж мэндлэхэд эрх чөлөөтэй, адилхан нэр төр, ижил эрхтэй байдаг.",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "kk": "Барлық адамдар тумысынан азат және қадір-қасиеті мен құқықтары тең.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "eu": "Gizon-emakume guztiak aske jaiotzen dira, duintasun eta eskubide berberak dituztela.",
    "rw": "Abantu bose bavuka aliko bakwiye agaciro no kwubahwa kimwe.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由,在尊严和权利上一律平等。",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.",
    "ug": "ھەممە ئادەم زانىدىنلا ئەركىن، ئىززەت-ھۆرمەت ۋە ھوقۇقتا باپباراۋەر بولۇپ تۇغۇلغان.",
}


@pytest.fixture(scope="module")
def shipped() -> LanguageIdentifier:
    return LanguageIdentifier.load(SHIPPED)


@pytest.mark.parametrize("tag", ARTICLE)
def test_languages(shipped, tag):
    found, sure = shipped.predict([ARTICLE[tag]])[0]
    assert found == tag
    assert 0.6 < sure <= 1.0


def test_ranking_is_a_distribution(shipped):
    ranked = shipped.rank(ARTICLE["mn"])
    assert len(ranked) == len(shipped.languages) == 27
    assert sum(sure for _, sure in ranked) == pytest.approx(1, abs=1e-5)
    assert ranked == sorted(ranked, key=lambda entry: -entry[1])
    assert ranked[0] == shipped.predict([ARTICLE["mn"]])[0]


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800"])
def test_text_without_words_is_answered_unsurely(shipped, text):
    ((_, sure),) = shipped.predict([text])
    assert 0 < sure < 0.9


def test_case_and_spaces_do_not_matter(shipped):
    text = ARTICLE["tr"]
    assert shipped.predict([f"  {text.lower()}\n"]) == shipped.predict([text.lower()])


def test_a_text_does_not_depend_on_its_neighbours(shipped):
    texts = list(ARTICLE.values())
    assert shipped.predict(texts) == [shipped.predict([text])[0] for text in texts]


def test_hash_never_changes():
    """The shipped weights are worthless under another hash."""
    assert ngram_buckets("ab", 16).tolist() == [
        38656,
        45415,
        24342,
        38656,
        40340,
        34720,
        63466,
        18272,
        16051,
        35478,
    ]
    assert len(ngram_buckets("x" * 1000, 16)) == len(ngram_buckets("x" * 400, 16))


def test_hash_spreads():
    text = " ".join(ARTICLE.values())[:400]
    distinct = {text[i : i + 4] for i in range(400)}
    assert len(set(ngram_buckets(text, 20).tolist())) > 0.9 * len(distinct)


def test_speed(shipped):
    text = (ARTICLE["mn"] * 2)[:100]
    shipped.predict([text] * 10)
    best = min(timed(shipped, [text] * 50) for _ in range(5))
    assert best / 50 < 0.2e-3, f"{best / 50 * 1e3:.3f} ms for 100 characters"


def timed(identifier: LanguageIdentifier, texts: list[str]) -> float:
    """Seconds of the processor: what else runs on the machine does not count."""
    start = time.process_time()
    identifier.predict(texts)
    return time.process_time() - start


def test_shipped_files_are_small():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 4_000_000


def write(folder: Path, languages: list[str], shape: tuple[int, int], version: int = 1) -> Path:
    tensors = {"weights": np.zeros(shape, np.float16), "bias": np.zeros(shape[1], np.float32)}
    save_file(tensors, folder / "langid.safetensors")
    (folder / "langid.json").write_text(json.dumps({"format": version, "languages": languages}))
    return folder


@pytest.mark.parametrize(
    ("languages", "shape", "version", "message"),
    [
        (["mn"], (16, 2), 1, r"weights \(16, 2\) and bias \(2,\) do not fit 1 languages"),
        (["mn", "ko"], (15, 2), 1, "15 buckets are no power of two"),
        (["mn", "ko"], (16, 2), 9, "format 9, this reads 1"),
    ],
)
def test_files_that_do_not_fit(tmp_path, languages, shape, version, message):
    with pytest.raises(ConfigError, match=message):
        LanguageIdentifier.load(write(tmp_path, languages, shape, version))


def test_damaged_files(tmp_path):
    write(tmp_path, ["mn", "ko"], (16, 2))
    (tmp_path / "langid.safetensors").write_bytes(b"\x08")
    with pytest.raises(ConfigError, match="no language identifier"):
        LanguageIdentifier.load(tmp_path)
