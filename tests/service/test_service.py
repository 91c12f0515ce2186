"""The service over HTTP: every bad request, and neighbours that are answered all the same."""

import gzip
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from langmod.specs import ROW_TOLERANCE
from langmod.store import ModuleStore
from service.settings import Settings
from tests.service.published import MOODS, TOPICS, publish
from tests.text import SENTENCES

KO = SENTENCES["ko"][0]


def post(client, endpoint, **body):
    return client.post(f"/{endpoint}", json=body)


def fault(response, status, code, *words):
    """Checks the envelope and returns the details."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    for word in words:
        assert word in error["message"]
    return error["details"]


def test_each_endpoint_answers_in_its_own_form(client):
    (filled,) = post(client, "fill_mask", texts=["The <mask>."], language="en", top_k=3).json()[
        "results"
    ]
    assert filled["language"] == "en"
    assert filled["modules"] == []
    assert [set(each) for each in filled["masks"][0]] == [{"token", "score", "text"}] * 3
    (topic,) = post(client, "classify", texts=[KO], language="ko", task="topic").json()["results"]
    assert {each["label"] for each in topic["labels"]} == set(TOPICS)
    assert topic["label"] == topic["labels"][0]["label"]
    (pair,) = post(client, "classify", texts=[[KO, KO]], language="ko", task="sentiment").json()[
        "results"
    ]
    assert {each["label"] for each in pair["labels"]} == set(MOODS)
    (tagged,) = post(client, "tag", texts=[KO], language="kor", task="ner").json()["results"]
    assert [each.partition("@")[0] for each in tagged["modules"]] == ["ko-lora", "ner-lora"]
    for span in tagged["spans"]:
        assert KO[span["start"] : span["end"]] == span["text"]
    (embedded,) = post(client, "embed", texts=[KO], language="ko").json()["results"]
    assert np.linalg.norm(embedded["vector"]) == pytest.approx(1, abs=1e-4)


def test_results_come_in_order_and_faults_in_their_place(client):
    texts = ["The <mask>.", "none here", "", "   ", "The <mask>!", "x " * 500]
    response = post(client, "fill_mask", texts=texts, language="en")
    assert response.status_code == 200
    codes = [each.get("error", {}).get("code", "ok") for each in response.json()["results"]]
    assert codes == ["ok", "no_mask_token", "bad_request", "bad_request", "ok", "text_too_long"]
    long = response.json()["results"][-1]["error"]
    assert long["details"]["limit"] == 64
    assert "at most 64" in long["message"]


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("no mask", "no_mask_token", "write <mask>"),
        ("<mask> " + "x " * 500, "text_too_long", "at most 64"),
        ("", "bad_request", "the text is empty"),
    ],
)
def test_a_request_with_nothing_to_answer_has_its_fault_s_status(client, text, code, word):
    response = post(client, "fill_mask", texts=[text, text], language="en")
    fault(response, 400, code, word)
    assert [each["error"]["code"] for each in response.json()["results"]] == [code, code]


BODIES = [
    ({}, "texts: Field required"),
    ({"texts": []}, "texts: List should have at least 1 item"),
    ({"texts": {"0": "one"}}, "texts: Input should be a valid"),
    ({"texts": ["a", 5]}, "(got 5)"),
    ({"texts": ["a", None]}, "(got None)"),
    ({"texts": ["a"] * 257}, "texts: got 257, at most 256"),
    ({"texts": ["a"], "language": 5}, "language: Input should be a valid string (got 5)"),
    ({"texts": ["a"], "langauge": "mn"}, "langauge: Extra inputs are not permitted"),
    ({"texts": ["a"], "modules": "mn-bottleneck"}, "modules: Input should be a valid array"),
    ({"texts": ["a"], "modules": ["a", "b", "c"]}, "modules: List should have at most 2 items"),
]


@pytest.mark.parametrize("endpoint", ["fill_mask", "classify", "tag", "embed"])
@pytest.mark.parametrize(("body", "message"), BODIES, ids=[message for _, message in BODIES])
def test_bodies_that_do_not_validate(client, endpoint, body, message):
    fault(post(client, endpoint, **body), 400, "bad_request", message)


@pytest.mark.parametrize("top_k", [0, 101, "5", 1.5, True])
def test_options_out_of_range(client, top_k):
    response = post(client, "fill_mask", texts=["<mask>"], language="en", top_k=top_k)
    fault(response, 400, "bad_request", "top_k: Input should be")


@pytest.mark.parametrize(
    "body", [b"{bad", b"", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"texts": ["\\ud800"]}']
)
def test_bodies_that_are_no_request(client, body):
    response = client.post("/embed", content=body, headers={"content-type": "application/json"})
    fault(response, 400, "bad_request")


def test_one_text_needs_no_list(client):
    alone = post(client, "embed", texts=KO, language="ko").json()
    assert alone == post(client, "embed", texts=[KO], language="ko").json()
    fault(post(client, "embed", texts="", language="ko"), 400, "bad_request", "the text is empty")


@pytest.mark.parametrize("top_k", [2, 2.0])
def test_a_whole_number_is_whole_in_any_spelling(client, top_k):
    body = {"texts": "The <mask>.", "language": "en", "top_k": top_k}
    (filled,) = post(client, "fill_mask", **body).json()["results"]
    assert len(filled["masks"][0]) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_bodies_of_any_unicode_form_are_read(client, encoding):
    body = json.dumps({"texts": [KO], "language": "ko"}, ensure_ascii=False)
    plain = client.post("/embed", content=body.encode()).json()
    headers = {"content-type": f"application/json; charset={encoding.removesuffix('-sig')}"}
    assert client.post("/embed", content=body.encode(encoding), headers=headers).json() == plain
    zipped = gzip.compress(body.encode(encoding))
    headers["content-encoding"] = "gzip"
    assert client.post("/embed", content=zipped, headers=headers).json() == plain


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("GET /classify", {"POST"}),
        ("PUT /translate", {"POST"}),
        ("POST /languages", {"GET", "HEAD"}),
        ("DELETE /livez", {"GET", "HEAD"}),
    ],
)
def test_what_is_not_allowed_says_what_is(client, asked, allowed):
    response = client.request(*asked.split())
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed
    assert response.headers["content-length"] == str(len(response.content))


def test_many_faults_are_not_all_spelt_out(client):
    details = fault(post(client, "embed", texts=[1] * 200), 400, "bad_request", "and 192 more")
    assert len(details["faults"]) == 9


def test_names_nobody_published(client):
    asked = {"texts": [KO], "language": "ko", "task": "topic"}
    details = fault(
        post(client, "classify", **asked | {"language": "kkj"}), 404, "unknown_language"
    )
    assert "kk" in details["near"]
    fault(post(client, "classify", **asked | {"language": "korean"}), 404, "unknown_language")
    details = fault(post(client, "classify", **asked | {"task": "topics"}), 404, "unknown_task")
    assert details["near"] == ["topic"]
    response = post(client, "tag", **asked | {"task": "ner", "language": "mn"})
    fault(response, 404, "unknown_task", "ner in kk", "ner in ko")
    details = fault(
        post(client, "classify", **asked | {"modules": ["ko-lore"]}), 404, "unknown_module"
    )
    assert details["near"][0] == "ko-lora"
    gone = "ko-lora@000000000000"
    fault(post(client, "classify", **asked | {"modules": [gone]}), 404, "unknown_module", gone)


def test_what_does_not_go_together(client):
    response = post(client, "classify", texts=[KO], language="ko")
    fault(response, 400, "bad_request", "task: name one; known: ner, sentiment, topic")
    response = post(client, "classify", texts=[KO], language="ko", task="ner")
    fault(response, 400, "bad_request", "send it to POST /tag")
    response = post(client, "embed", texts=[KO], language="ko", modules=["ner-lora"])
    fault(response, 400, "bad_request", "takes no task")
    response = post(client, "embed", texts=[KO])
    fault(response, 400, "bad_request", "language: name it")


def test_a_broken_module_is_422_and_its_neighbours_are_answered(client, encoder_folder):
    folder = encoder_folder / "modules" / "kk-bottleneck"
    digest = (folder / "latest").read_text().strip()
    path = folder / digest / "slots.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    ask = {"texts": [SENTENCES["kk"][0]], "language": "kk"}
    for _ in range(2):
        fault(post(client, "embed", **ask), 422, "broken_module", "publish the module again")
    assert post(client, "embed", texts=[KO], language="ko").status_code == 200
    path.write_bytes(whole)
    assert post(client, "embed", **ask).status_code == 200


def test_a_folder_that_is_no_module_is_listed_and_422_when_named(client, encoder_folder):
    folder = encoder_folder / "modules" / "strange"
    folder.mkdir()
    (folder / "latest").write_text("../../../etc")
    response = post(client, "embed", texts=[KO], language="ko", modules=["strange"])
    fault(response, 422, "broken_module", "'../../../etc', no digest")
    (base,) = client.get("/modules").json()["bases"]
    assert list(base["broken"]) == ["strange"]
    assert post(client, "embed", texts=[KO], language="ko").status_code == 200


def test_a_module_for_another_base_is_409(client, encoder_folder):
    publish(encoder_folder, "alien", "language", "lora", languages=("qu",), base_digest="0" * 64)
    details = fault(
        post(client, "embed", texts=["a"], language="qu"), 409, "module_mismatch", "alien"
    )
    assert len(details["faults"]) == 1
    assert "made for base tiny-encoder (000000000000)" in details["faults"][0]


def test_a_module_published_while_serving_serves_the_next_request(client, encoder_folder):
    ask = {"texts": ["Kaixo mundua"], "language": "gn"}
    fault(post(client, "embed", **ask), 404, "unknown_language")
    first = publish(encoder_folder, "gn-lora", "language", "lora", languages=("gn",))
    before = post(client, "embed", **ask).json()["results"][0]
    assert before["modules"] == [first]
    second = publish(encoder_folder, "gn-lora", "language", "lora", seed=1, languages=("gn",))
    after = post(client, "embed", **ask).json()["results"][0]
    assert after["modules"] == [second]
    assert np.abs(np.subtract(before["vector"], after["vector"])).max() > 1e-3
    ModuleStore(encoder_folder / "modules").rollback("gn-lora", first.partition("@")[2])
    assert post(client, "embed", **ask).json()["results"][0] == before
    ModuleStore(encoder_folder / "modules").remove("gn-lora")
    fault(post(client, "embed", **ask), 404, "unknown_language")
    fault(post(client, "embed", **ask | {"modules": ["gn-lora"]}), 404, "unknown_module")


def test_endpoints_of_a_base_that_is_not_there_are_503(client):
    response = post(client, "translate", texts=["a"], target="ko")
    fault(response, 503, "unavailable", "no translator base", "langmod export")
    fault(post(client, "back_translate", texts=["a"]), 503, "unavailable", "no translator base")


def test_what_can_be_asked_for_is_listed(client):
    post(client, "embed", texts=[KO], language="ko")
    languages = {each["language"]: each for each in client.get("/languages").json()["languages"]}
    assert languages["ko"]["name"] == "Korean"
    assert languages["ko"]["bases"]["tiny-encoder"]["modules"] == ["ko-lora"]
    assert languages["eu"]["bases"]["tiny-encoder"]["trained_on"] is False
    tasks = {each["task"]: each for each in client.get("/tasks").json()["tasks"]}
    assert {name: task["kind"] for name, task in tasks.items()} == {
        "ner": "tag",
        "sentiment": "classify",
        "topic": "classify",
    }
    assert tasks["topic"]["modules"][0]["labels"] == list(TOPICS)
    (base,) = client.get("/modules").json()["bases"]
    modules = {each["module"].partition("@")[0]: each for each in base["modules"]}
    assert modules["ko-lora"]["resident"]
    assert not modules["eu-lora"]["resident"]
    assert base["slots"]["language"]["load"] == 1
    assert base["slots"]["language"]["bytes"] > 0


def test_a_listing_that_fails_answers_in_the_envelope(client, monkeypatch):
    monkeypatch.setattr("service.listing.english_name", lambda tag: 1 / 0)
    fault(client.get("/languages"), 500, "internal", "its log says why")


def test_an_endpoint_that_fails_answers_in_the_envelope(client, monkeypatch):
    monkeypatch.setattr("service.rows.padded", lambda length: 1 / 0)
    response = post(client, "embed", texts=["a", "b"], language="en")
    fault(response, 500, "internal", "the server's log says why")


def test_health(client):
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "code", "word"),
    [
        ("GET /nothing", 404, "not_found", "nothing answers GET /nothing"),
        ("POST /clasify", 404, "not_found", "listed at GET /docs"),
        ("GET /classify", 405, "method_not_allowed", "sent with POST"),
        ("POST /languages", 405, "method_not_allowed", "read with GET"),
    ],
)
def test_paths_and_methods_nobody_serves(client, asked, status, code, word):
    fault(client.request(*asked.split()), status, code, word)


def test_pickles_are_refused_unread(client):
    headers = {"content-type": "application/vnd.bentoml+pickle"}
    response = client.post("/embed", content=b"\x80\x05.", headers=headers)
    fault(response, 415, "refused", "pickle is not allowed")


def test_the_page_of_endpoints_is_there(client):
    assert "<html" in client.get("/docs").text


def test_the_description_names_every_endpoint_and_field(client):
    described = client.get("/docs.json").json()
    assert {"/fill_mask", "/classify", "/tag", "/embed", "/translate", "/back_translate"} <= set(
        described["paths"]
    )
    assert "language" in str(described["paths"]["/classify"])


class Held:
    """Keeps an engine's worker inside a batch until let go."""

    def __init__(self, engine, monkeypatch):
        self.gate, self.entered, self.sizes = threading.Event(), threading.Event(), []
        execute = engine.execute

        def wait(rows, pinned):
            self.entered.set()
            assert self.gate.wait(20)
            self.sizes.append(len(rows))
            return execute(rows, pinned)

        monkeypatch.setattr(engine, "execute", wait)


def texts_in(tag, **fields):
    return {"texts": SENTENCES[tag][:2], "language": tag, **fields}


@pytest.mark.parametrize("precision", ["fp32", "int8"], indirect=True)
def test_one_batch_of_four_languages_two_tasks_and_two_methods(
    serve, encoder_folder, precision, monkeypatch
):
    """Requests of several endpoints that wait together share a batch and change nothing."""
    from bentoml import get_current_service

    client = serve(Settings(models=encoder_folder.parent, precision=precision, threads=1))
    bodies = [
        ("embed", texts_in("mn")),
        *(("tag", texts_in(tag, task="ner")) for tag in ("ko", "kk")),
        *(("classify", texts_in(tag, task="topic")) for tag in SENTENCES),
    ]
    alone = [post(client, endpoint, **body).json() for endpoint, body in bodies]
    held = Held(get_current_service().engines.encoder, monkeypatch)
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        first = pool.submit(post, client, "embed", texts=["a"], language="en")
        assert held.entered.wait(10)
        waiting = [pool.submit(post, client, endpoint, **body) for endpoint, body in bodies]
        scheduler = get_current_service().engines.encoder.scheduler
        while scheduler.waiting < 14:
            assert not first.done()
        held.gate.set()
        together = [each.result(30).json() for each in waiting]
    assert sum(held.sizes) == 15
    assert max(held.sizes) > 7
    for one, other in zip(alone, together, strict=True):
        for before, after in zip(one["results"], other["results"], strict=True):
            assert before["modules"] == after["modules"]
            same(before, after)


def same(one, other):
    """Equal, numbers within the tolerance of a row."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        pairs = [(one[key], other[key]) for key in one]
    elif isinstance(one, list):
        pairs = list(zip(one, other, strict=True))
    else:
        assert one == (pytest.approx(other, abs=ROW_TOLERANCE) if isinstance(one, float) else other)
        return
    for pair in pairs:
        same(*pair)


def test_beyond_the_bound_requests_are_429(serve, encoder_folder, monkeypatch):
    from bentoml import get_current_service

    client = serve(
        Settings(models=encoder_folder.parent, precision="fp32", threads=1, queued_texts=4)
    )
    engine = get_current_service().engines.encoder
    held = Held(engine, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client, "embed", texts=["a"], language="en")
        assert held.entered.wait(10)
        second = pool.submit(post, client, "embed", texts=["b"] * 3, language="en")
        while engine.scheduler.waiting < 3:
            assert not second.done()
        refused = post(client, "embed", texts=["c"] * 2, language="en")
        fault(refused, 429, "overloaded", "3 texts wait", "2 more were sent", "at most 4")
        assert int(refused.headers["retry-after"]) >= 1
        held.gate.set()
        assert first.result(10).status_code == second.result(10).status_code == 200


def test_a_request_over_its_time_leaves_the_queue(serve, encoder_folder, monkeypatch):
    from bentoml import get_current_service

    settings = Settings(models=encoder_folder.parent, precision="fp32", threads=1, timeout=0.2)
    client = serve(settings)
    engine = get_current_service().engines.encoder
    held = Held(engine, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(post, client, "embed", texts=["a"], language="en") for _ in range(2)]
        for each in slow:
            fault(each.result(10), 503, "unavailable", "not answered within 0.2 s")
    held.gate.set()
    assert sum(held.sizes) <= 1
    assert engine.scheduler.waiting <= 1


def test_only_the_text_that_fails_a_batch_fails(client, monkeypatch):
    from service.encoder import EncoderEngine

    execute = EncoderEngine.execute

    def fall_over(self, rows, pinned):
        if any("poison" in str(row.example.text) for row in rows):
            raise RuntimeError("onnxruntime fell over")
        return execute(self, rows, pinned)

    monkeypatch.setattr(EncoderEngine, "execute", fall_over)
    response = post(client, "embed", texts=["good", "poison", "fine"], language="en")
    assert response.status_code == 200
    codes = [each.get("error", {}).get("code", "ok") for each in response.json()["results"]]
    assert codes == ["ok", "internal", "ok"]


def test_a_folder_without_bases_is_not_ready(serve, tmp_path):
    client = serve(Settings(models=tmp_path, precision="fp32"))
    fault(client.get("/readyz"), 503, "unavailable", "not ready")
    fault(post(client, "embed", texts=["a"], language="en"), 503, "unavailable", "no encoder base")


def test_a_body_over_the_bound_is_refused(client):
    response = post(client, "embed", texts=["x" * (9 * 2**20)], language="en")
    fault(response, 413, "body_too_large", "more than 8388608 bytes")


def test_several_bases_of_a_kind_must_be_told_apart(encoder_folder):
    from langmod.errors import ConfigError
    from service.engines import find_base

    shutil.copytree(encoder_folder, encoder_folder.with_name("other"))
    settings = Settings(models=encoder_folder.parent, precision="fp32")
    with pytest.raises(ConfigError, match="several encoder bases, other, tiny-encoder: name one"):
        find_base(settings, "encoder")
    named = settings.model_copy(update={"encoder": "other"})
    assert find_base(named, "encoder") == encoder_folder.with_name("other")
    assert find_base(settings, "translator") is None
    missing = settings.model_copy(update={"encoder": "third"})
    with pytest.raises(ConfigError, match="LANGMOD_ENCODER=third: no such encoder"):
        find_base(missing, "encoder")
