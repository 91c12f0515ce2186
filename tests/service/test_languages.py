"""Languages as people write them, at every endpoint; texts that come without one."""

from pathlib import Path

import pytest

from service.settings import Settings
from tests.text import SENTENCES

SHIPPED = Path(__file__).parents[2] / "models" / "langid"
KO, MN, EN = (SENTENCES[tag][0] for tag in ("ko", "mn", "en"))
BODIES = {
    "fill_mask": {"texts": [f"{MN} <mask>"]},
    "classify": {"texts": [MN], "task": "topic"},
    "tag": {"texts": [SENTENCES["kk"][0]], "task": "ner"},
    "embed": {"texts": [MN]},
    "translate": {"texts": [MN], "target": "en"},
    "back_translate": {"texts": [MN], "pivot": "en", "round_trip": False, "mode": "greedy"},
}
FORMS = {
    "mn": ("khk", "KHK", "mn-MN", "mn_MN", "mn-Cyrl", "khk_Cyrl"),
    "kk": ("kaz", "kk-KZ", "kk_KZ", "kk-Cyrl", "kaz_Cyrl"),
}


@pytest.fixture
def client(serve, encoder_folder, translator_folder):
    models = encoder_folder.parent
    (models / "langid").symlink_to(SHIPPED)
    return serve(Settings(models=models, precision="fp32", threads=1))


def field_of(endpoint):
    return "source" if endpoint == "translate" else "language"


def language_of(endpoint):
    return "kk" if endpoint == "tag" else "mn"


@pytest.mark.parametrize("endpoint", BODIES)
def test_tags_mean_the_same_at_every_endpoint(client, endpoint):
    field, tag = field_of(endpoint), language_of(endpoint)
    body = BODIES[endpoint]
    plain = client.post(f"/{endpoint}", json=body | {field: tag}).json()
    assert plain["results"][0][field] == tag
    for form in FORMS[tag]:
        assert client.post(f"/{endpoint}", json=body | {field: form}).json() == plain
    (left_out,) = client.post(f"/{endpoint}", json=body).json()["results"]
    assert left_out[field] == tag
    assert left_out[f"{field}_probability"] > 0.5
    for form in ("auto", "", None):
        response = client.post(f"/{endpoint}", json=body | {field: form})
        assert response.json()["results"] == [left_out]


@pytest.mark.parametrize("endpoint", BODIES)
def test_another_script_is_refused_at_every_endpoint(client, endpoint):
    field, tag = field_of(endpoint), language_of(endpoint)
    for form in (f"{tag}-Mong", f"{tag}_Arab", f"{tag}-CN"):
        response = client.post(f"/{endpoint}", json=BODIES[endpoint] | {field: form})
        assert response.status_code == 404
        error = response.json()["error"]
        assert error["code"] in {"unknown_script", "unknown_task"}


@pytest.mark.parametrize("endpoint", BODIES)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("123", "the text has no letters to tell its language by; name `{}`, one of: "),
        ("สวัสดี <mask>", "in Thai script, in which nothing is served here; name `{}`, one of: "),
        ("ᠮᠣᠩᠭᠣᠯ", "in Mongolian script"),
        ("Все люди рождаются свободными", "detected Russian ('ru') with probability"),
        ("Je ne sais pas où est la gare", "detected French ('fr') with probability"),
    ],
)
def test_what_cannot_be_told_is_said_at_every_endpoint(client, endpoint, text, words):
    body = BODIES[endpoint]
    response = client.post(f"/{endpoint}", json=body | {"texts": [text]})
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "unsure_language"
    assert words.format(field_of(endpoint)) in error["message"]
    mixed = client.post(f"/{endpoint}", json=body | {"texts": [text, *body["texts"]]})
    assert mixed.status_code == 200
    first, second = mixed.json()["results"]
    assert first["error"] == error
    assert second[field_of(endpoint)] == language_of(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "field"), [("translate", "target"), ("back_translate", "pivot")]
)
def test_targets(client, endpoint, field):
    body = BODIES[endpoint]
    plain = client.post(f"/{endpoint}", json=body | {field: "ko"}).json()
    for form in ("kor", "ko-KR", "ko_KR", "kor_Hang", "KO"):
        assert client.post(f"/{endpoint}", json=body | {field: form}).json() == plain
    for form in ("auto", ""):
        response = client.post(f"/{endpoint}", json=body | {field: form})
        assert response.status_code == 400
        assert response.json()["error"]["message"].startswith(f"{field}: got {form!r}, name a lang")
    response = client.post(f"/{endpoint}", json=body | {field: "ko-Latn"})
    assert response.json()["error"]["code"] == "unknown_script"


def test_who_is_not_to_blame_for_what_was_detected(client):
    """English to English was not asked for; that the text is English was found out here."""
    response = client.post("/translate", json={"texts": [EN], "target": "en"})
    assert response.status_code == 422
    message = response.json()["error"]["message"]
    assert "detected English ('en')" in message
    assert "name `source`, one of: kk, ko, mn" in message
    response = client.post("/translate", json={"texts": [EN], "source": "en", "target": "en"})
    assert response.status_code == 400
    assert "source and target are both 'en'" in response.json()["error"]["message"]


def test_only_languages_of_the_task_are_candidates(client):
    response = client.post("/tag", json={"texts": [MN], "task": "ner"})
    assert response.status_code == 422
    assert "detected Mongolian ('mn')" in response.json()["error"]["message"]
    assert response.json()["error"]["details"]["possible"] == ["kk", "ko"]


def test_a_module_that_names_its_direction_names_the_source(client):
    body = {"texts": ["OK"], "target": "en", "modules": ["ko-en"]}
    (answer,) = client.post("/translate", json=body).json()["results"]
    assert answer["source"] == "ko"
    assert "source_probability" not in answer


def test_faults_of_the_whole_request_come_before_those_of_texts(client):
    response = client.post("/classify", json={"texts": ["123"], "task": "topics"})
    assert response.json()["error"]["code"] == "unknown_task"
    response = client.post("/classify", json={"texts": ["123"]})
    assert response.json()["error"]["message"].startswith("task: name one")
    response = client.post("/classify", json={"texts": ["123"], "task": "ner"})
    assert "send it to POST /tag" in response.json()["error"]["message"]
    response = client.post("/embed", json={"texts": [""]})
    assert "the text is empty" in response.json()["error"]["message"]


def test_the_threshold_is_a_setting(serve, encoder_folder):
    models = encoder_folder.parent
    (models / "langid").symlink_to(SHIPPED)
    settings = Settings(models=models, precision="fp32", threads=1, detection_threshold=1.0)
    response = serve(settings).post("/embed", json={"texts": ["Ankara"]})
    assert response.status_code == 422
    assert "too unsure; name `language`" in response.json()["error"]["message"]
