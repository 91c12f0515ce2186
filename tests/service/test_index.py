import os
import shutil
import time

import numpy as np
import pytest

from langmod.errors import BrokenModule, UnknownModule
from langmod.store import ModuleStore
from service.index import ModuleIndex
from tests.service.modules import manifest


@pytest.fixture
def store(tmp_path):
    return ModuleStore(tmp_path / "modules")


@pytest.fixture
def index(store):
    return ModuleIndex(store)


def publish(store, name, value=1.0, **fields):
    tensors = {"down": np.full(3, value, np.float32)}
    return store.publish(manifest(name, **{"languages": ("mn",), **fields}), tensors)


def serving(index, tag="mn"):
    found = index.find(lambda manifest: tag in manifest.languages)
    return found and found.key


def settle(store):
    """Makes the folder old enough to be trusted."""
    os.utime(store.storage.folder, (time.time() - 60, time.time() - 60))


def test_an_empty_or_missing_store_serves_nothing(index):
    assert serving(index) is None
    with pytest.raises(UnknownModule, match="no module 'mn'; known: none"):
        index.named("mn")


def test_what_is_published_serves_at_once(store, index):
    assert serving(index) is None
    digest = publish(store, "mn-a")
    assert serving(index) == f"mn-a@{digest}"
    assert index.named("mn-a").digest == digest


def test_a_new_version_serves_at_once_even_if_the_folder_looks_unchanged(store, index):
    publish(store, "mn-a")
    settle(store)
    serving(index)
    state = store.storage.folder.stat()
    digest = publish(store, "mn-a", value=2)
    os.utime(store.storage.folder, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert serving(index) == f"mn-a@{digest}"


def test_a_removed_module_serves_no_more(store, index):
    publish(store, "mn-a")
    digest = publish(store, "mn-b", priority=-1)
    settle(store)
    assert serving(index).startswith("mn-a@")
    store.remove("mn-a")
    assert serving(index) == f"mn-b@{digest}"
    with pytest.raises(UnknownModule, match="near names: mn-b"):
        index.named("mn-a")


def test_modules_removed_during_a_reading_are_not_broken(store, index, monkeypatch):
    digest = publish(store, "mn-a")
    publish(store, "mn-b")
    list_modules = store.list_modules

    def list_before_removal():
        stored = list_modules()
        if "mn-b" in stored:
            store.storage.remove("mn-b")
        return stored

    monkeypatch.setattr(store, "list_modules", list_before_removal)
    listing = index.listing()
    assert listing.entries.keys() == {"mn-a"}
    assert listing.broken == {}
    assert serving(index) == f"mn-a@{digest}"


def test_a_module_deleted_by_hand_serves_no_more(store, index):
    publish(store, "mn-a")
    settle(store)
    serving(index)
    shutil.rmtree(store.storage.folder / "mn-a")
    assert serving(index) is None


def test_a_version_that_serves_other_languages_is_not_found_for_the_old_ones(store, index):
    publish(store, "mn-a")
    settle(store)
    serving(index)
    state = store.storage.folder.stat()
    publish(store, "mn-a", languages=("bxr",))
    os.utime(store.storage.folder, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert serving(index) is None


def test_priority_decides_and_ties_go_by_name(store, index):
    publish(store, "mn-c")
    publish(store, "mn-b")
    assert serving(index).startswith("mn-b@")
    publish(store, "mn-z", priority=1)
    assert serving(index).startswith("mn-z@")


def test_any_version_can_be_named(store, index):
    old, new = publish(store, "mn-a", 1), publish(store, "mn-a", 2)
    assert index.named("mn-a").digest == new
    assert index.named(f"mn-a@{old}").digest == old
    with pytest.raises(UnknownModule, match="no module 'mn-a@ffffffffffff'"):
        index.named("mn-a@ffffffffffff")


def test_a_folder_is_read_once_while_it_does_not_change(store, index, monkeypatch):
    publish(store, "mn-a")
    settle(store)
    index.listing()
    monkeypatch.setattr(store, "list_modules", lambda: pytest.fail("read again"))
    assert serving(index).startswith("mn-a@")


def test_a_folder_changed_just_now_is_read_again(store, index, monkeypatch):
    publish(store, "mn-a")
    index.listing()
    reads = []
    monkeypatch.setattr(store, "list_modules", lambda: reads.append(1) or {})
    os.utime(store.storage.folder)
    index.listing()
    index.listing()
    assert len(reads) == 2


def test_broken_modules_are_listed_and_leave_the_others_alone(store, index):
    digest = publish(store, "mn-a")
    (store.storage.folder / "mn-a" / digest / "module.json").write_text("{}")
    good = publish(store, "mn-b")
    assert serving(index) == f"mn-b@{good}"
    assert "publish the module again" in index.listing().broken["mn-a"].message
    with pytest.raises(BrokenModule, match=r"module 'mn-a': module\.json has digest"):
        index.named("mn-a")


def test_a_module_broken_after_it_was_found_does_not_break_the_index(store, index):
    publish(store, "mn-a")
    good = publish(store, "mn-b")
    settle(store)
    serving(index)
    (store.storage.folder / "mn-a" / "latest").write_text("garbage")
    assert serving(index) == f"mn-b@{good}"
    with pytest.raises(BrokenModule, match="holds 'garbage', no digest"):
        index.named("mn-a")


def test_what_is_being_published_is_not_seen(store, index):
    publish(store, "mn-a")
    (store.storage.folder / ".publish-x").mkdir()
    (store.storage.folder / "half").mkdir()
    assert list(index.listing().entries) == ["mn-a"]
    assert not index.listing().broken
