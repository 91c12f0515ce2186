"""Detection is measured on crops of given texts, beside what is installed, into a page."""

from pathlib import Path

import pytest

from benchmarks.detection.identifiers import Identifier, opened
from benchmarks.detection.measure import Detection, accuracy, crop, measure_detection
from benchmarks.detection.tables import MARK, write_tables
from langmod.errors import ConfigError
from service.settings import Settings
from tests.text import SENTENCES

ROOT = Path(__file__).parents[2]
ROWS = [(text, tag) for tag, texts in SENTENCES.items() for text in texts]


class Constant(Identifier):
    """Says one language of everything."""

    packages = ("numpy",)

    @property
    def languages(self):
        return frozenset({"en", "ko"})

    def likeliest(self, text, among):
        return "ko"


def test_accuracy_is_counted_by_language():
    assert accuracy(Constant(), ROWS) == {"en": 0, "kk": 0, "ko": 1, "mn": 0}


@pytest.mark.parametrize("length", [5, 10, 40])
def test_crops_are_the_same_every_time_and_no_longer(length):
    cropped = crop(ROWS, length, 1)
    assert cropped == crop(ROWS, length, 1)
    assert cropped != crop(ROWS, length, 2)
    assert all(0 < len(text) <= length for text, _ in cropped)


@pytest.mark.parametrize("name", ["langmod", "py3langid"])
def test_identifiers_choose_among_what_is_asked(name):
    identifier = opened(name)
    assert {"en", "mn", "ko", "kk"} <= identifier.languages
    assert identifier.likeliest("The train to the coast", {"en", "ko"}) == "en"
    assert identifier.likeliest("The train to the coast", {"eu", "tr"}) in {"eu", "tr"}
    assert 0 < identifier.mebibytes() < 100


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lingua", None)
    with pytest.raises(ConfigError, match=r"lingua: .*pip install '\.\[detection\]'"):
        opened("lingua")


def test_the_shipped_run_loads():
    asked = Detection.load(ROOT / "benchmarks" / "detection" / "detection.yaml")
    assert asked.threshold == Settings.model_fields["detection_threshold"].default
    assert {source.name.rpartition("-")[2] for source in asked.sources} == {"dev"}


def test_a_run_fills_its_page(tmp_path):
    sources = []
    for tag, texts in SENTENCES.items():
        path = tmp_path / f"{tag}.txt"
        path.write_text("\n".join(texts), "utf-8")
        fields = {"languages": [tag], "licence": "CC0", "url": "tests"}
        sources.append({"name": tag, "path": str(path), **fields})
    page = tmp_path / "page.md"
    asked = Detection.model_validate(
        {"name": "t", "identifiers": ["langmod", "py3langid"], "lengths": [10, 40]}
        | {"sources": sources}
    )
    result = measure_detection(asked)
    assert {each.language for each in result.served} == set(SENTENCES)
    for each in result.served:
        assert each.right + each.wrong + each.refused == pytest.approx(1, abs=1e-3)
    best = {each.language: each.right for each in result.served if each.length == 40}
    assert min(best.values()) > 0.6
    page.write_text(f"before\n{MARK.format('begin')}\nstale\n{MARK.format('end')}\nafter\n")
    write_tables(result, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    assert "| Mongolian (`mn`) |" in text
    assert "| langmod / py3langid | 4 |" in text
    empty = tmp_path / "empty.md"
    empty.write_text("nothing")
    with pytest.raises(ConfigError, match="no lines"):
        write_tables(result, empty)
