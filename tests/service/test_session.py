from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from langmod.errors import ConfigError, Unavailable
from langmod.store import Module
from service.bank import Bank, Stack
from service.session import GraphSet
from service.settings import Settings
from service.slots import Budget
from tests.service.published import random_manifest, random_tensors


@pytest.fixture
def settings():
    return Settings(precision="fp32", threads=1)


def test_a_precision_that_was_not_exported_is_a_clear_error(encoder_folder, settings):
    half = settings.model_copy(update={"precision": "fp16"})
    with pytest.raises(ConfigError, match=r"no graphs in .*fp16: run `langmod export`"):
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


def test_outputs_that_stay_on_the_device_are_fed_again(graphs):
    bank = Bank(graphs.spec.banks, Budget(2, 2**20))
    plain = graphs["embed"].run(feeds())
    kept = graphs["embed"].run(feeds(), keep=["words"])
    np.testing.assert_array_equal(kept["words"].numpy(), plain["words"])
    with bank.pin([Stack(), Stack()]) as pinned:
        expected = graphs["body"].run(feeds() | plain, pinned.tables)["hidden"]
        got = graphs["body"].run(feeds() | kept, pinned.tables)["hidden"]
    np.testing.assert_array_equal(got, expected)


def test_a_value_is_bound_again_only_when_it_is_another(graphs, monkeypatch):
    bound, bind = [], ort.IOBinding.bind_cpu_input
    monkeypatch.setattr(
        ort.IOBinding, "bind_cpu_input", lambda *given: bound.append(given[1]) or bind(*given)
    )
    asked = feeds()
    first = graphs["embed"].run(asked)["words"].copy()
    assert bound == ["token_ids"]
    np.testing.assert_array_equal(graphs["embed"].run(asked)["words"], first)
    assert bound == ["token_ids"]
    other = graphs["embed"].run(asked | {"token_ids": asked["token_ids"] + 1})["words"]
    assert bound == ["token_ids"] * 2
    assert not np.array_equal(other, first)


def test_numbers_changed_in_place_are_read(graphs):
    for order in ("C", "F"):
        ids = np.full((2, 5), 7, np.int64, order=order)
        before = graphs["embed"].run({"token_ids": ids})["words"].copy()
        ids += 1
        assert not np.array_equal(graphs["embed"].run({"token_ids": ids})["words"], before)


def random_module(graphs, name, seed):
    made = random_manifest(graphs.base, name, "language", "lora")
    return Module(made, "0" * 12, random_tensors(graphs.spec, "language", "lora", seed=seed))


def test_a_bank_is_bound_again_only_when_it_changed(graphs, monkeypatch):
    bound, bind = [], ort.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr(
        ort.OrtValue, "ortvalue_from_numpy", lambda *given: bound.append(1) or bind(*given)
    )
    bank = Bank(graphs.spec.banks, Budget(2, 2**20))
    counts = []
    a, b = (random_module(graphs, name, seed) for seed, name in enumerate("ab"))
    for each in (None, None, a, a, b):
        with bank.pin([Stack(each)] * 2) as pinned:
            words = graphs["embed"].run(feeds())
            graphs["body"].run(feeds() | words | {"slots": pinned.slots}, pinned.tables)
        counts.append(len(bound))
        bound.clear()
    every = len(graphs["body"].spec.banks)
    assert counts[0] == every
    assert counts[1] == counts[3] == 0
    assert 0 < counts[4] < every


def test_threads_do_not_share_what_they_bind(graphs):
    bank = Bank(graphs.spec.banks, Budget(2, 2**20))
    with bank.pin([Stack(), Stack()]) as pinned:
        words = [graphs["embed"].run(feeds(tokens)) for tokens in (3, 5, 7, 9)]

        def hidden(at):
            given = feeds((3, 5, 7, 9)[at % 4]) | words[at % 4]
            return graphs["body"].run(given, pinned.tables)["hidden"]

        alone = [hidden(at) for at in range(4)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(hidden, range(40)))
    for at, each in enumerate(together):
        np.testing.assert_array_equal(each, alone[at % 4])
