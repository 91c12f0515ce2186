"""A base with random weights: built once, and every system writes as many tokens."""

import pytest

from benchmarks.experiment import Rivals
from benchmarks.rivals.measure import measure_rivals
from benchmarks.rivals.random_base import base_of, code, kept
from benchmarks.rivals.translators import TRANSLATORS, Checkpoint
from benchmarks.tables import table
from tests.bases import make_base

MOST = 9


@pytest.fixture
def asked(tmp_path):
    make_base(tmp_path / "models" / "tiny", "translator")
    return Rivals.model_validate(
        {
            "name": "n", "title": "N", "models": tmp_path / "models", "base": "tiny",
            "random": {
                "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "vocabulary": 700,
            },
            "cache": tmp_path / "cache", "source": "en", "target": "mn", "precision": "fp32",
            "systems": tuple(TRANSLATORS), "aims": {"CTranslate2 int8": (1.5, 1.3)}, "threads": 1,
            "batches": ((3, 1), (2, 4)), "most_tokens": MOST, "repetitions": 1,
        }
    )  # fmt: skip


def test_a_random_base_is_built_once_and_every_translation_is_cut(asked, monkeypatch):
    lengths, write = [], Checkpoint.write

    def noted(self, translations):
        special = {self.tokenizer.eos_token_id, self.tokenizer.pad_token_id}
        lengths.extend(len([each for each in row if each not in special]) for row in translations)
        return write(self, translations)

    monkeypatch.setattr(Checkpoint, "write", noted)
    result = measure_rivals(asked)
    assert set(lengths) == {1 + MOST + 1}
    for rows, beams in asked.batches:
        points = {point.system: point for point in result.of_batch(rows, beams)}
        assert points["langmod"].alike == points["transformers fp32"].alike == rows
        assert {point.runs[0].tokens for point in points.values()} == {rows * (MOST + 1)}
    assert "| ≥ 1.5 |" in table(result)
    assert "| ≥ 1.3 |" in table(result)
    weights = base_of(asked).models / base_of(asked).base / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert measure_rivals(asked).points[0].alike == 3
    assert weights.stat().st_mtime_ns == before


def test_what_is_kept_is_built_anew_when_another_is_to_build_it(tmp_path):
    def built(by):
        def build(folder):
            (folder / "graph").write_text(f"{len(seen)}")

        with kept(tmp_path / "kept" / "base", build, by) as folder:
            seen.append((folder / "graph").read_text())
        return seen[-1]

    seen = []
    assert [built("a"), built("a"), built("b"), built("b")] == ["0", "0", "2", "2"]
    assert [each.name for each in (tmp_path / "kept").iterdir()] == ["base"]


def test_graphs_are_of_the_code_that_made_them(asked, monkeypatch):
    graphs = base_of(asked).models / base_of(asked).base / "onnx" / "fp32" / "graph.json"
    before = graphs.stat().st_mtime_ns
    base_of(asked)
    assert graphs.stat().st_mtime_ns == before
    monkeypatch.setattr("benchmarks.rivals.random_base.code", lambda: f"not {code()}")
    base_of(asked)
    assert graphs.stat().st_mtime_ns > before
