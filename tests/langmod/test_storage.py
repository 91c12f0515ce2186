"""Every place of a store keeps the same promises."""

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from langmod.errors import BadRequest, BrokenModule, ConfigError, Unavailable, UnknownModule
from langmod.storage import LATEST, MANIFEST, TENSORS, TOKENIZER, open_storage
from langmod.storage.url import UrlStorage
from langmod.store import ModuleStore
from tests.langmod.places import PLACES
from tests.service.modules import WORDS, manifest, tensors


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    with PLACES[request.param](tmp_path) as place:
        yield place


@pytest.fixture
def publisher(place):
    return ModuleStore(place)


@pytest.fixture
def reader(place):
    return ModuleStore(place)


def publish(store, name="mn", value=1.0):
    return store.publish(manifest(name), tensors(value=value))


def files_of(place, name, digest):
    """A version's files as its publisher would bring them."""
    storage = open_storage(place)
    return {file: storage.read(name, digest, file) for file in (TENSORS, MANIFEST)}


def test_what_one_publishes_another_reads(publisher, reader):
    assert reader.names() == []
    with pytest.raises(UnknownModule, match="no module 'mn'; known: none"):
        reader.load("mn")
    digest = publish(publisher)
    assert reader.names() == ["mn"]
    module = reader.load("mn")
    assert module.key == f"mn@{digest}"
    for name, tensor in tensors().items():
        np.testing.assert_array_equal(module.tensors[name], tensor)
    assert publish(publisher) == digest
    assert reader.versions("mn") == [digest]


def publish_words(store, text=b"{}", name="mn"):
    """A module that brings a vocabulary."""
    return store.publish(manifest(name, vocabulary=WORDS), tensors(), text)


def test_a_vocabulary_is_part_of_its_version(place, publisher, reader):
    plain, first, second = (
        publish(publisher),
        publish_words(publisher),
        publish_words(publisher, b"[]"),
    )
    assert len({plain, first, second}) == 3
    for digest, text in ((plain, None), (first, b"{}"), (second, b"[]")):
        module = reader.load("mn", digest)
        assert module.tokenizer == text
        assert (module.manifest.vocabulary is None) == (text is None)
    assert reader.load("mn", second).nbytes == reader.load("mn", plain).nbytes + 2
    assert publish_words(publisher) == first
    files = files_of(place, "mn", first) | {TOKENIZER: b"{}"}
    publisher.storage.put("mn", first, files | {TOKENIZER: b"{ }"})
    with pytest.raises(BrokenModule, match=f"{TOKENIZER} has digest .* publish the module again"):
        reader.load("mn")
    assert publish_words(publisher) == first
    assert reader.load("mn").tokenizer == b"{}"
    publisher.remove("mn")
    publisher.storage.put("mn", first, {TENSORS: files[TENSORS], MANIFEST: files[MANIFEST]})
    publisher.storage.point("mn", first)
    with pytest.raises(BrokenModule, match=f"module 'mn': {TOKENIZER} of {first} is missing"):
        ModuleStore(place).load("mn")


def test_a_vocabulary_without_its_tokenizer_is_not_published(publisher, reader):
    with pytest.raises(BrokenModule, match=f"{TOKENIZER} of its vocabulary is missing"):
        publisher.publish(manifest("mn", vocabulary=WORDS), tensors())
    with pytest.raises(BrokenModule, match=f"{TOKENIZER} is of no vocabulary"):
        publisher.publish(manifest("mn"), tensors(), b"{}")
    assert reader.names() == []


def test_latest_goes_back_and_forth(publisher, reader):
    first, second, third = (publish(publisher, value=value) for value in (1, 2, 3))
    assert reader.versions("mn") == [third, second, first]
    assert publisher.rollback("mn") == second
    assert reader.load("mn").digest == second
    assert publisher.rollback("mn") == first
    assert reader.latest("mn") == first
    with pytest.raises(BadRequest, match=f"no version before {first}; it has {third}, {second}"):
        publisher.rollback("mn")
    assert publisher.rollback("mn", third) == third
    assert reader.latest("mn") == third
    with pytest.raises(UnknownModule, match="no module 'mn@000000000000'"):
        publisher.rollback("mn", "0" * 12)


def test_a_removed_module_is_gone_and_can_come_back(publisher, reader):
    publish(publisher, value=1)
    digest = publish(publisher, value=2)
    publish(publisher, "mn-latest")
    publisher.remove("mn")
    assert reader.names() == ["mn-latest"]
    for ask in (reader.load, reader.latest, publisher.remove):
        with pytest.raises(UnknownModule, match="no module 'mn'; known: mn-latest"):
            ask("mn")
    assert publish(publisher, value=2) == digest
    assert reader.versions("mn") == [digest]


def test_a_version_is_seen_only_when_it_is_whole(place, publisher, reader, tmp_path):
    with PLACES["memory"](tmp_path) as other:
        digest = publish(ModuleStore(other), value=2)
        files = files_of(other, "mn", digest)
    storage = publisher.storage
    storage.put("mn", digest, {TENSORS: files[TENSORS]})
    assert reader.names() == []
    old = publish(publisher, value=1)
    storage.put("mn", digest, files)
    assert reader.load("mn").digest == old
    storage.point("mn", digest)
    assert reader.load("mn").digest == digest


@pytest.mark.parametrize("missing", [MANIFEST, TENSORS])
def test_a_pointer_that_came_before_its_files_serves_nothing(place, publisher, missing):
    digest = publish(publisher)
    files = files_of(place, "mn", digest)
    publisher.remove("mn")
    storage = publisher.storage
    storage.put("mn", digest, {file: files[file] for file in files if file != missing})
    storage.point("mn", digest)
    with pytest.raises(BrokenModule, match=f"module 'mn': {missing} of {digest} is missing"):
        ModuleStore(place).load("mn")
    assert publish(publisher) == digest
    assert ModuleStore(place).load("mn").digest == digest


def test_files_cut_short_are_refused_and_mended_by_publishing_again(place, publisher, reader):
    digest = publish(publisher)
    files = files_of(place, "mn", digest)
    publisher.storage.put("mn", digest, files | {TENSORS: files[TENSORS][:-4]})
    with pytest.raises(BrokenModule, match=f"{TENSORS} has digest .* publish the module again"):
        reader.load("mn")
    assert publish(publisher) == digest
    assert reader.load("mn").digest == digest


def test_publishers_do_not_disturb_one_another(place, reader):
    values = [1, 1, 2, 2, 3, 3]

    def work(value):
        return publish(ModuleStore(place), value=value), publish(ModuleStore(place), f"m{value}")

    with ThreadPoolExecutor(1 if place.startswith("bentoml") else len(values)) as pool:
        digests = {digest for digest, _ in pool.map(work, values)}
    assert reader.names() == ["m1", "m2", "m3", "mn"]
    assert set(reader.versions("mn")) == digests
    assert len(digests) == 3
    for name in reader.names():
        reader.load(name)
    for digest in digests:
        assert reader.load("mn", digest).digest == digest


def test_to_publish_takes_no_look_at_every_module(publisher, reader, monkeypatch):
    def list_modules():
        raise AssertionError("the time to publish would grow with the store")

    publish(publisher, "ko")
    monkeypatch.setattr(publisher.storage, "list_modules", list_modules)
    digests = [publish(publisher, value=value) for value in (1, 2, 1)]
    assert digests[0] == digests[2]
    assert reader.latest("mn") == digests[0]
    assert set(reader.versions("mn")) == set(digests)


@pytest.mark.parametrize("digest", ["", "../mn", "0" * 11, "g" * 12])
def test_what_is_no_digest_is_never_looked_for(publisher, digest):
    publish(publisher)
    with pytest.raises(UnknownModule, match="no module 'mn@"):
        publisher.manifest("mn", digest)


@pytest.mark.parametrize("url", ["s3://nobody-made-this/modules", "file system"])
def test_a_root_is_never_made(url, tmp_path):
    with PLACES["s3"](tmp_path):
        place = UrlStorage(url if "://" in url else f"file://{tmp_path}/modules")
        store = ModuleStore(place)
        assert store.names() == []
        with pytest.raises(ConfigError, match="/modules does not exist: make it first"):
            publish(store)
        assert store.names() == []


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    store = ModuleStore(UrlStorage(f"file://{tmp_path}/modules"))
    digest = publish(store)
    assert store.names() == ["mn"]
    listed = type(store.storage._fs).ls

    def fail_below(fs, path, *args, **kwargs):
        if path.endswith(f"/mn/{digest}"):
            raise OSError("the line is cut")
        return listed(fs, path, *args, **kwargs)

    monkeypatch.setattr(type(store.storage._fs), "ls", fail_below)
    with pytest.raises(Unavailable, match=r"cannot be reached: OSError\('the line is cut'\)"):
        store.names()


def test_strangers_among_the_files_are_left_alone(tmp_path):
    import fsspec

    with PLACES["memory"](tmp_path) as url:
        publish(ModuleStore(url))
        fs = fsspec.filesystem("memory")
        for path in ("README.md", "../latest", ".x/latest", "Other/latest", "half/x/module.json"):
            fs.pipe_file(f"{url}/{path}", b"?")
        assert ModuleStore(url).names() == ["mn"]


def test_a_web_server_s_folder_is_read(tmp_path):
    first, second = (publish(ModuleStore(tmp_path / "modules"), value=value) for value in (1, 2))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = ModuleStore(f"http://127.0.0.1:{server.server_port}/modules")
        assert store.load("mn").digest == second
        assert store.names() == ["mn"]
        assert set(store.versions("mn")) == {first, second}
        server.shutdown()
    with pytest.raises(Unavailable, match=r"store http://127\.0\.0\.1:.* cannot be reached"):
        store.names()


def test_a_place_of_no_known_kind_is_refused_without_its_password():
    with pytest.raises(ConfigError, match=r"store nowhere://host/x: Protocol not known: nowhere"):
        ModuleStore("nowhere://me:secret@host/x")
    with PLACES["memory"](None) as url:
        assert ModuleStore(url).names() == []


def test_a_name_too_long_for_bentoml_is_refused(tmp_path):
    with (
        PLACES["bentoml"](tmp_path) as place,
        pytest.raises(ConfigError, match=r"module 'm+' cannot lie in a BentoML store: .* 63"),
    ):
        publish(ModuleStore(place), "m" * 60)


def test_bases_share_a_bentoml_store_even_if_their_names_run_together(tmp_path):
    with PLACES["bentoml"](tmp_path):
        publish(ModuleStore("bentoml://tiny"), "encoder-mn")
        digest = publish(ModuleStore("bentoml://tiny-encoder"), "mn", value=2)
        assert ModuleStore("bentoml://tiny").names() == ["encoder-mn"]
        assert ModuleStore("bentoml://tiny-encoder").names() == ["mn"]
        ModuleStore("bentoml://tiny").remove("encoder-mn")
        assert ModuleStore("bentoml://tiny-encoder").load("mn").digest == digest


def test_the_pointer_comes_last(tmp_path):
    with PLACES["memory"](tmp_path) as url:
        store = ModuleStore(url)
        writes = []
        write = store.storage._write

        def noted(path, payload):
            writes.append(path.rpartition("/")[2])
            write(path, payload)

        store.storage._write = noted
        publish(store)
        assert writes == [TENSORS, MANIFEST, LATEST]
