"""An engine whose modules lie in a store that is no folder."""

import fsspec
import numpy as np
import pytest

from langmod.store import ModuleStore
from service.settings import Settings
from tests.langmod.places import PLACES
from tests.service.published import publish
from tests.service.test_service import KO, fault, post


@pytest.fixture
def url(tmp_path):
    with PLACES["memory"](tmp_path) as url:
        yield url.replace("/tiny/", "/tiny-encoder/")


@pytest.fixture
def store(url):
    return ModuleStore(url)


@pytest.fixture
def client(serve, encoder_folder, url, tmp_path):
    template = url.replace("tiny-encoder", "{base}")
    return serve(
        Settings(
            models=encoder_folder.parent,
            precision="fp32",
            threads=1,
            store=template,
            cache=tmp_path / "cache",
            poll_seconds=0,
        )
    )


@pytest.fixture
def publish_far(encoder_folder, url):
    def publish_far(seed=0):
        made = {"seed": seed, "languages": ("gn",), "store": url}
        return publish(encoder_folder, "gn-lora", "language", "lora", **made)

    return publish_far


def test_modules_come_change_and_go_while_serving(client, publish_far, store):
    ask = {"texts": [KO], "language": "gn"}
    fault(post(client, "embed", **ask), 404, "unknown_language")
    first = publish_far()
    before = post(client, "embed", **ask).json()["results"][0]
    assert before["modules"] == [first]
    second = publish_far(seed=1)
    after = post(client, "embed", **ask).json()["results"][0]
    assert after["modules"] == [second]
    assert np.abs(np.subtract(before["vector"], after["vector"])).max() > 1e-3
    store.rollback("gn-lora")
    assert post(client, "embed", **ask).json()["results"][0] == before
    named = ask | {"modules": [second]}
    assert post(client, "embed", **named).json()["results"][0]["modules"] == [second]
    store.remove("gn-lora")
    fault(post(client, "embed", **ask), 404, "unknown_language")
    fault(post(client, "embed", **ask | {"modules": ["gn-lora"]}), 404, "unknown_module")
    fault(post(client, "embed", **named), 404, "unknown_module")


def test_the_folder_beside_the_base_is_not_read(client, publish_far):
    publish_far()
    (base,) = client.get("/modules").json()["bases"]
    assert [each["module"].partition("@")[0] for each in base["modules"]] == ["gn-lora"]


def test_half_of_a_module_is_422_and_served_once_it_is_whole(client, publish_far, url):
    key = publish_far()
    fs, path = fsspec.filesystem("memory"), f"{url}/{key.replace('@', '/')}/slots.safetensors"
    whole = fs.cat_file(path)
    fs.pipe_file(path, whole[:-1])
    ask = {"texts": [KO], "language": "gn"}
    fault(post(client, "embed", **ask), 422, "broken_module", "publish the module again")
    fs.pipe_file(path, whole)
    assert post(client, "embed", **ask).json()["results"][0]["modules"] == [key]
