import hashlib
import json
import os
import pickle
import random
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import save_file

from langmod.errors import BadRequest, BrokenModule, UnknownModule
from langmod.specs import ModuleManifest
from langmod.store import ModuleStore


def manifest(name="mn-bottleneck"):
    return ModuleManifest(
        name=name,
        role="language",
        method="bottleneck",
        languages=("mn",),
        base="tiny",
        base_digest="b" * 64,
        tokenizer_digest="t" * 64,
        tensors=(),
        sha256="",
        licence="Apache-2.0",
        data="none",
    )


def tensors(value=1.0):
    return {
        "bottleneck.down": np.full((2, 3, 4), value, np.float32),
        "bottleneck.up": np.full((2, 4, 3), value, np.float16),
    }


@pytest.fixture
def store(tmp_path):
    return ModuleStore(tmp_path / "models" / "tiny" / "modules")


def folders_of(store):
    return [each.name for each in store.storage.folder.iterdir() if each.name != ".lock"]


def test_what_is_published_is_loaded(store):
    digest = store.publish(manifest(), tensors())
    module = store.load("mn-bottleneck")
    assert module.key == f"mn-bottleneck@{digest}"
    assert module.manifest.languages == ("mn",)
    assert [spec.name for spec in module.manifest.tensors] == ["bottleneck.down", "bottleneck.up"]
    assert module.nbytes == 24 * 4 + 24 * 2
    for name, tensor in tensors().items():
        assert module.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(module.tensors[name], tensor)


def test_the_digest_is_that_of_the_files(store):
    digest = store.publish(manifest(), tensors())
    folder = store.storage.folder / "mn-bottleneck" / digest
    sealed = (folder / "module.json").read_bytes()
    assert hashlib.sha256(sealed).hexdigest()[:12] == digest
    payload = (folder / "slots.safetensors").read_bytes()
    assert json.loads(sealed)["sha256"] == hashlib.sha256(payload).hexdigest()
    assert store.publish(manifest(), tensors()) == digest
    assert folders_of(store) == ["mn-bottleneck"]


def test_versions_are_kept_and_can_be_gone_back_to(store):
    old = store.publish(manifest(), tensors(1))
    new = store.publish(manifest(), tensors(2))
    assert old != new
    assert store.latest("mn-bottleneck") == new
    assert set(store.versions("mn-bottleneck")) == {old, new}
    assert store.load("mn-bottleneck", old).tensors["bottleneck.down"].max() == 1
    store.rollback("mn-bottleneck", old)
    assert store.load("mn-bottleneck").digest == old
    with pytest.raises(UnknownModule, match=f"near names: mn-bottleneck@{old[:5]}"):
        store.rollback("mn-bottleneck", old[:-1] + "x")


def test_a_removed_module_is_gone_with_its_folder(store):
    store.publish(manifest(), tensors())
    store.publish(manifest("ko-lora"), tensors())
    store.remove("mn-bottleneck")
    assert store.names() == ["ko-lora"]
    assert folders_of(store) == ["ko-lora"]
    for gone in (store.load, store.latest, store.remove):
        with pytest.raises(UnknownModule, match="no module 'mn-bottleneck'"):
            gone("mn-bottleneck")


def test_every_change_touches_the_folder(store):
    digest = store.publish(manifest(), tensors())
    for change in (
        lambda: store.publish(manifest(), tensors(2)),
        lambda: store.rollback("mn-bottleneck", digest),
        lambda: store.remove("mn-bottleneck"),
    ):
        os.utime(store.storage.folder, (0, 0))
        change()
        assert store.storage.folder.stat().st_mtime > 1


@pytest.mark.parametrize("name", ["", ".", "..", "../tiny", "a/b", ".hidden", "a\0b"])
def test_names_do_not_lead_out_of_the_store(store, name):
    store.publish(manifest(), tensors())
    with pytest.raises(UnknownModule, match="no module"):
        store.load(name)


def overwrite(path, content):
    path.write_bytes(content)


def reseal(folder, **changes):
    """Changes the manifest and moves the folder to the digest of its new text."""
    sealed = json.loads((folder / "module.json").read_text())
    reseal_text(folder, json.dumps(sealed | changes).encode())


def swap_tensors(folder, replacement):
    """Other tensors, with a manifest that vouches for the file but not for what is in it."""
    save_file(replacement, folder / "slots.safetensors")
    reseal(folder, sha256=hashlib.sha256((folder / "slots.safetensors").read_bytes()).hexdigest())


def pickled(folder):
    overwrite(folder / "slots.safetensors", pickle.dumps({"a": 1}))
    reseal(folder, sha256=hashlib.sha256((folder / "slots.safetensors").read_bytes()).hexdigest())


def reseal_text(folder, text):
    overwrite(folder / "module.json", text)
    digest = hashlib.sha256(text).hexdigest()[:12]
    folder.rename(folder.with_name(digest))
    (folder.parent / "latest").write_text(digest)


BREAKS = {
    "no tensors": (
        lambda f: (f / "slots.safetensors").unlink(),
        "slots.safetensors of .* is missing",
    ),
    "no manifest": (lambda f: (f / "module.json").unlink(), "module.json of .* is missing"),
    "cut short": (
        lambda f: overwrite(f / "slots.safetensors", (f / "slots.safetensors").read_bytes()[:-8]),
        "slots.safetensors has digest .* publish the module again",
    ),
    "tampered manifest": (
        lambda f: overwrite(f / "module.json", (f / "module.json").read_bytes() + b" "),
        "module.json has digest .* publish the module again",
    ),
    "not json": (lambda f: reseal_text(f, b"{"), "module.json: value: Invalid JSON"),
    "another name": (lambda f: reseal(f, name="other"), "module.json is of module 'other'"),
    "a pickle": (pickled, "slots.safetensors is no safetensors"),
    "missing tensor": (
        lambda f: swap_tensors(f, {"bottleneck.up": tensors()["bottleneck.up"]}),
        "bottleneck.down is missing",
    ),
    "strange tensor": (
        lambda f: swap_tensors(f, {**tensors(), "x": np.zeros(1, np.float32)}),
        "x is not in module.json",
    ),
    "another shape": (
        lambda f: swap_tensors(f, {**tensors(), "bottleneck.up": np.zeros((2, 4), np.float16)}),
        r"float16 \[2, 4\], module.json says float16 \[2, 4, 3\]",
    ),
    "another type": (
        lambda f: swap_tensors(f, {**tensors(), "bottleneck.up": np.zeros((2, 4, 3), np.int64)}),
        "bottleneck.up is int64, allowed float32 or float16",
    ),
    "not a number": (
        lambda f: swap_tensors(
            f, {**tensors(), "bottleneck.down": tensors(np.nan)["bottleneck.down"]}
        ),
        "bottleneck.down holds numbers that are not finite",
    ),
    "no digest": (lambda f: overwrite(f.parent / "latest", b"newest"), "'newest', no digest"),
}


@pytest.mark.parametrize(("damage", "message"), BREAKS.values(), ids=BREAKS)
def test_damaged_modules_are_refused(store, damage, message):
    digest = store.publish(manifest(), tensors())
    damage(store.storage.folder / "mn-bottleneck" / digest)
    with pytest.raises(BrokenModule, match=message):
        store.load("mn-bottleneck")
    assert store.names() == ["mn-bottleneck"]


def test_publishing_again_mends_a_damaged_module(store):
    digest = store.publish(manifest(), tensors())
    (store.storage.folder / "mn-bottleneck" / digest / "slots.safetensors").unlink()
    assert store.publish(manifest(), tensors()) == digest
    assert store.load("mn-bottleneck").digest == digest


def test_what_could_not_be_loaded_is_not_published(store):
    bad = {"a": np.zeros(2, np.float64), "b": np.array([np.inf], np.float32)}
    with pytest.raises(BrokenModule, match=r"a is float64.*; b holds numbers"):
        store.publish(manifest(), bad)
    assert store.names() == []


def test_readers_always_see_a_whole_version(store):
    store.publish(manifest(), tensors(0))
    done, faults = threading.Event(), []

    def read():
        while not done.is_set():
            try:
                module = store.load("mn-bottleneck")
                values = {float(each) for tensor in module.tensors.values() for each in tensor.flat}
                assert len(values) == 1
            except Exception as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(40):
        store.publish(manifest(), tensors(value))
    done.set()
    reader.join()
    assert faults == []


def test_readers_and_writers_of_every_kind_side_by_side(store):
    """Whatever happens at the same time, a module is there and whole, or it is unknown."""
    names = ("en", "mn")
    for name in names:
        store.publish(manifest(name), tensors(0))

    def publish(chance):
        store.publish(manifest(chance.choice(names)), tensors(chance.randrange(2)))

    def go_back(chance):
        with suppress(BadRequest):
            store.rollback(chance.choice(names))

    work = {
        "publish": publish,
        "publish too": publish,
        "go back": go_back,
        "remove": lambda chance: store.remove(chance.choice(names)),
        "load": lambda chance: store.load(chance.choice(names)),
        "list_modules": lambda chance: store.list_modules(),
        "stamp": lambda chance: store.stamp("mn", store.latest("mn")),
    }
    done = threading.Event()

    def repeat(label):
        chance, unknown = random.Random(label), 0
        while not done.is_set():
            try:
                work[label](chance)
            except UnknownModule:
                unknown += 1
        return unknown

    with ThreadPoolExecutor(len(work)) as pool:
        jobs = {label: pool.submit(repeat, label) for label in work}
        wait(jobs.values(), timeout=2, return_when=FIRST_EXCEPTION)
        done.set()
    assert jobs["load"].result() > 0
    assert {label: job.exception() for label, job in jobs.items()} == dict.fromkeys(work)
    for name in store.names():
        store.load(name)
