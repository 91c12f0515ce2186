"""Fixtures of the whole suite: nano bases with graphs in both precisions, made once per run."""

import atexit
import os
import shutil
import tempfile

import pytest

from tests.bases import make_base

# Before any settings are read: no test writes into a user's cache, nor reads what lies there.
os.environ["LANGMOD_CACHE"] = tempfile.mkdtemp(prefix="langmod-tests-")
atexit.register(shutil.rmtree, os.environ["LANGMOD_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory):
    """A models folder with `tiny-encoder` and `tiny-translator`, exported; no modules yet."""
    from export.graph import export_graphs

    folder = tmp_path_factory.mktemp("models")
    for kind in ("encoder", "translator"):
        base = folder / f"tiny-{kind}"
        make_base(base, kind)
        for precision in ("fp32", "int8"):
            export_graphs(base, precision)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(models_folder):
    """The base folder of the encoder; its graphs lie in onnx/fp32 and onnx/int8."""
    return models_folder / "tiny-encoder"


@pytest.fixture(scope="session")
def tiny_translator(models_folder):
    """The base folder of the translator."""
    return models_folder / "tiny-translator"
