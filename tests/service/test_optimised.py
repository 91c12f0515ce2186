"""Graphs kept as ONNX Runtime optimised them: made once, the same numbers, damage is noticed."""

import numpy as np
import onnxruntime as ort
import pytest

from langmod.digests import file_digest
from service.optimised import optimised_session
from service.session import options
from service.settings import Settings


@pytest.fixture
def graph(tiny_encoder):
    return tiny_encoder / "onnx" / "int8" / "embed.onnx"


@pytest.fixture
def opened(graph, tmp_path):
    def open_graph(folder=tmp_path / "graphs"):
        settings = Settings(threads=1)
        return optimised_session(graph, file_digest(graph), folder, options(settings))

    return open_graph


def words(session):
    return session.run(None, {"token_ids": np.arange(10, 16).reshape(2, 3)})[0]


def test_a_graph_is_arranged_once_and_gives_the_same_numbers(opened, graph, tmp_path, monkeypatch):
    plain = words(ort.InferenceSession(graph, providers=["CPUExecutionProvider"]))
    assert np.ptp(plain) > 0
    assert np.array_equal(words(opened()), plain)
    (kept,) = (tmp_path / "graphs").iterdir()
    made = kept.stat().st_mtime_ns
    assert np.array_equal(words(opened()), plain)
    assert kept.stat().st_mtime_ns == made
    monkeypatch.setattr("service.optimised.processor", lambda: "another processor")
    opened()
    assert len(list((tmp_path / "graphs").iterdir())) == 2


def test_a_damaged_one_is_arranged_anew(opened, tmp_path):
    plain = words(opened())
    (kept,) = (tmp_path / "graphs").iterdir()
    whole = kept.read_bytes()
    damaged = whole[:-8] + bytes(8)
    assert damaged != whole
    kept.write_bytes(damaged)
    assert np.array_equal(words(opened()), plain)
    (anew,) = (tmp_path / "graphs").iterdir()
    assert anew.read_bytes() != damaged


def test_without_a_folder_to_write_the_file_itself_serves(opened, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    assert words(opened(tmp_path / "file" / "graphs")).shape[:2] == (2, 3)
    assert "is not kept as optimised" in caplog.text
