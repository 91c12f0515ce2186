"""A far store read through a folder: fresh, verified, and served on while it cannot be reached."""

import json
import logging

import numpy as np
import pytest
from pydantic import ValidationError

from langmod.errors import BrokenModule, Unavailable, UnknownModule
from langmod.storage import LATEST, MANIFEST, TENSORS, TOKENIZER
from langmod.storage.url import UrlStorage
from langmod.store import ModuleStore
from service import metrics, remote
from service.index import ModuleIndex
from service.remote import RemoteStore, open_store
from service.settings import Settings
from tests.langmod.places import PLACES
from tests.service.modules import WORDS, manifest, tensors


class Far(UrlStorage):
    """A far file system that counts what is asked of it and can be out of reach."""

    def __init__(self, folder):
        super().__init__(f"file://{folder}")
        self.folder = folder
        self.listings, self.downloads, self.out_of_reach = 0, [], False

    def list_modules(self):
        self._answer()
        self.listings += 1
        return super().list_modules()

    def read(self, name, digest, file):
        self._answer()
        self.downloads.append(file)
        return super().read(name, digest, file)

    def _answer(self):
        if self.out_of_reach:
            raise Unavailable("store far cannot be reached: nobody answers")


@pytest.fixture
def far(tmp_path):
    return Far(tmp_path / "far")


@pytest.fixture
def publisher(far):
    return ModuleStore(far.folder)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def open_remote(far, cache):
    return lambda poll_seconds=0: RemoteStore(far, cache, poll_seconds)


def publish(store, name="mn", value=1.0, **fields):
    made = manifest(name, **{"languages": ("mn",), **fields})
    return store.publish(made, tensors(value=value))


def test_a_second_start_downloads_nothing(publisher, far, open_remote, cache):
    digest = publish(publisher)
    assert open_remote().load("mn").digest == digest
    assert far.downloads == [MANIFEST, TENSORS]
    assert (cache / "mn" / digest / TENSORS).is_file()
    assert open_remote().load("mn").digest == digest
    assert len(far.downloads) == 2


@pytest.mark.parametrize("file", [MANIFEST, TENSORS])
@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_damaged_cache_is_fetched_again(far, open_remote, cache, file, damage):
    far.folder.mkdir()
    digest = publish(ModuleStore(far))
    far.downloads.clear()
    open_remote().load("mn")
    whole = (cache / "mn" / digest / file).read_bytes()
    (cache / "mn" / digest / file).write_bytes(damage)
    np.testing.assert_array_equal(open_remote().load("mn").tensors["down"], tensors()["down"])
    assert (cache / "mn" / digest / file).read_bytes() == whole
    assert far.downloads == [MANIFEST, TENSORS, file]


def test_a_vocabulary_is_kept_with_its_module(publisher, far, open_remote, cache):
    made = manifest("mn", vocabulary=WORDS)
    digest = publisher.publish(made, tensors(), b"{}")
    assert open_remote().load("mn").tokenizer == b"{}"
    assert far.downloads == [MANIFEST, TENSORS, TOKENIZER]
    (cache / "mn" / digest / TOKENIZER).write_bytes(b"")
    assert open_remote().load("mn").tokenizer == b"{}"
    assert far.downloads == [MANIFEST, TENSORS, TOKENIZER, TOKENIZER]
    far.out_of_reach = True
    assert open_remote().load("mn").tokenizer == b"{}"


def test_a_cache_that_cannot_be_written_costs_downloads_only(far, publisher, tmp_path, caplog):
    digest = publish(publisher)
    (tmp_path / "file").write_text("in the way")
    store = RemoteStore(far, tmp_path / "file" / "cache", 0)
    assert store.load("mn").digest == digest
    assert "mn@" in caplog.text
    assert "is not kept" in caplog.text


def test_half_of_a_version_is_never_served_nor_kept(publisher, far, open_remote, cache):
    old, new = publish(publisher, value=1), publish(publisher, value=2)
    tensors_file = far.folder / "mn" / new / TENSORS
    whole = tensors_file.read_bytes()
    tensors_file.write_bytes(whole[:100])
    store = open_remote()
    with pytest.raises(BrokenModule, match="publish the module again"):
        store.load("mn")
    assert not (cache / "mn" / new / TENSORS).exists()
    assert store.load("mn", old).digest == old
    tensors_file.write_bytes(whole)
    assert store.load("mn").digest == new


def test_what_vanished_is_not_served_from_the_cache(publisher, far, open_remote):
    old, new = publish(publisher, value=1), publish(publisher, value=2)
    store = open_remote()
    index = ModuleIndex(store)
    assert index.named("mn").digest == new
    assert store.load("mn", old).digest == old
    (far.folder / "mn" / old / MANIFEST).unlink()
    with pytest.raises(UnknownModule, match=f"no module 'mn@{old}'"):
        index.named(f"mn@{old}")
    (far.folder / "mn" / new / MANIFEST).unlink()
    with pytest.raises(BrokenModule, match=f"{MANIFEST} of {new} is missing"):
        index.named("mn")
    publisher.remove("mn")
    with pytest.raises(UnknownModule, match="no module 'mn'; known: none"):
        index.named("mn")


def test_the_cache_forgets_what_was_removed(publisher, open_remote, cache):
    publish(publisher)
    store = open_remote()
    store.load("mn")
    publisher.remove("mn")
    store.changed()
    assert list(cache.iterdir()) == []


def test_a_store_is_looked_at_once_in_a_while(publisher, far, open_remote):
    publish(publisher)
    store = open_remote(poll_seconds=3600)
    index = ModuleIndex(store)
    looks = far.listings
    for _ in range(5):
        assert index.find(lambda each: "mn" in each.languages).manifest.name == "mn"
        assert index.named("mn").manifest.name == "mn"
    assert far.listings == looks


def test_a_name_that_is_not_known_has_the_store_looked_at(publisher, far, open_remote, monkeypatch):
    index = ModuleIndex(open_remote(poll_seconds=3600))
    digest = publish(publisher)
    assert index.find(lambda each: "mn" in each.languages) is None
    looks = far.listings
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0)
    assert index.named("mn").digest == digest
    older, newer = digest, publish(publisher, value=2)
    assert index.named(f"mn@{newer}").digest == newer
    assert index.named(f"mn@{older}").digest == older
    assert far.listings == looks + 2


def test_many_unknown_names_have_it_looked_at_once(far, open_remote):
    index = ModuleIndex(open_remote(poll_seconds=3600))
    looks = far.listings
    for name in ("a", "b", "c@000000000000"):
        with pytest.raises(UnknownModule):
            index.named(name)
    assert far.listings <= looks + 1


def test_what_was_seen_is_served_while_the_store_is_out_of_reach(
    publisher, far, open_remote, caplog
):
    caplog.set_level(logging.WARNING, "langmod.store")
    digest = publish(publisher)
    publish(publisher, "ko", languages=("ko",))
    store = open_remote()
    index = ModuleIndex(store)
    store.load("mn")
    far.out_of_reach = True
    for _ in range(3):
        assert index.named("mn").digest == digest
        assert store.load("mn").digest == digest
    with pytest.raises(Unavailable, match="nobody answers"):
        store.load("ko")
    told = [each.message for each in caplog.records]
    assert told == ["store far cannot be reached: nobody answers; what was seen before is served"]
    far.out_of_reach = False
    new = publish(publisher, value=2)
    assert index.named("mn").digest == new
    assert caplog.records[-1].message == "the store can be reached again"


def test_a_start_without_the_store_serves_what_is_cached(publisher, far, open_remote):
    old, new = publish(publisher, value=1), publish(publisher, value=2)
    open_remote().load("mn", old)
    publisher.rollback("mn", old)
    open_remote()
    far.out_of_reach = True
    store = open_remote()
    assert ModuleIndex(store).named("mn").digest == old
    assert store.load("mn").digest == old
    far.out_of_reach = False
    publisher.rollback("mn", new)
    assert ModuleIndex(store).named("mn").digest == new


def test_a_damaged_module_is_found_mended(publisher, far, open_remote):
    digest = publish(publisher)
    path = far.folder / "mn" / digest / MANIFEST
    path.write_bytes(path.read_bytes() + b" ")
    index = ModuleIndex(open_remote())
    assert list(index.listing().broken) == ["mn"]
    publish(publisher)
    assert index.named("mn").digest == digest


def test_settings_say_where_a_base_s_modules_lie(tmp_path):
    beside = open_store(tmp_path / "tiny", "tiny", Settings(store=None))
    assert beside.storage.folder == tmp_path / "tiny" / "modules"
    folder = open_store(tmp_path, "tiny", Settings(store=f"{tmp_path}/all/{{base}}"))
    assert folder.storage.folder == tmp_path / "all" / "tiny"
    with pytest.raises(ValidationError, match=r"store\n.*must hold \{base\}"):
        Settings(store="s3://bucket/modules")


@pytest.mark.parametrize("place", ["memory", "s3", "bentoml"])
def test_a_place_that_is_no_folder_gets_a_cache_and_its_looks_are_counted(place, tmp_path):
    with PLACES[place](tmp_path) as url:
        digest = publish(ModuleStore(url))
        template = url.replace("tiny", "{base}")
        settings = Settings(store=template, cache=tmp_path / "cache", poll_seconds=3600)
        looks = metrics.STORE_LOOKS.labels("tiny", "ok")
        before = looks._value.get()
        store = open_store(tmp_path, "tiny", settings)
        assert store.load("mn").digest == digest
        assert looks._value.get() == before + 1
        (cache,) = (tmp_path / "cache").iterdir()
        assert json.loads((cache / "mn" / digest / MANIFEST).read_text())["name"] == "mn"
        assert (cache / "mn" / LATEST).read_text().strip() == digest
