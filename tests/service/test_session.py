import numpy as np
import onnxruntime as ort
import pytest

from langmod.errors import ConfigError, Unavailable
from service.bank import Bank, Stack
from service.session import GraphSet
from service.settings import Settings
from service.slots import Room
from tests.service.modules import module


@pytest.fixture
def settings():
    return Settings(precision="fp32", threads=1)


def test_a_precision_that_was_not_exported_is_a_clear_error(encoder_folder, settings):
    half = settings.model_copy(update={"precision": "fp16"})
    with pytest.raises(ConfigError, match=r"no graphs in .*fp16: run `python -m export graph`"):
        GraphSet(encoder_folder, half)


def test_a_file_that_graph_json_does_not_describe_is_refused(encoder_folder, settings):
    path = encoder_folder / "onnx" / "fp32" / "body.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match=r"body\.onnx is not the file graph\.json describes"):
        GraphSet(encoder_folder, settings)
    path.unlink()
    with pytest.raises(ConfigError, match=r"body\.onnx is not the file graph\.json describes"):
        GraphSet(encoder_folder, settings)


def test_a_provider_that_is_not_active_ends_the_start(encoder_folder, settings, monkeypatch):
    monkeypatch.setattr(ort.InferenceSession, "get_providers", lambda _: ["CPUExecutionProvider"])
    cuda = settings.model_copy(update={"provider": "cuda"})
    with pytest.raises(Unavailable, match="provider cuda was asked for but CPUExecutionProvider"):
        GraphSet(encoder_folder, cuda)


@pytest.fixture
def graphs(encoder_folder, settings):
    return GraphSet(encoder_folder, settings)


def feeds(tokens=5):
    ones = np.ones((2, tokens), np.int64)
    return {
        "token_ids": ones * 7,
        "mask": ones,
        "positions": ones * np.arange(2, tokens + 2),
        "slots": np.zeros((2, 2), np.int64),
    }


def test_binding_to_a_device_gives_what_a_plain_run_gives(graphs):
    """The path of CUDA, on the one device that is always there."""
    bank = Bank(graphs.spec.banks, Room(2, 2**20))
    plain = graphs["embed"].run(feeds())
    kept = graphs["embed"]._run_on_device({"token_ids": feeds()["token_ids"]}, {}, ["words"])
    np.testing.assert_array_equal(kept["words"].numpy(), plain["words"])
    body = graphs["body"]
    taken = {name: value for name, value in feeds().items() if name in body.inputs}
    with bank.pin([Stack(), Stack()]) as pinned:
        expected = body.run(taken | plain, pinned.tables)["hidden"]
        tables = {name: pinned.tables[name] for name in body.spec.banks}
        got = body._run_on_device(taken | kept, tables, [])["hidden"]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_bank_goes_to_the_device_again_only_when_it_changed(graphs):
    from tests.service.modules import BANKS

    bank, graph = Bank(BANKS, Room(2, 2**20)), graphs["body"]
    uploads = []
    for each in (module("a"), module("a"), module("b", value=2.0)):
        with bank.pin([Stack(each)]) as pinned:
            uploads.append(graph._upload("language.down", pinned.tables["language.down"]))
    assert uploads[0] is uploads[1]
    assert uploads[2] is not uploads[1]
    assert uploads[2].numpy().max() == 2
