"""The endpoints of a translator over HTTP: their answers, and every bad request."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.settings import Settings
from tests.text import SENTENCES

KO = SENTENCES["ko"][0]


@pytest.fixture
def client(serve, translator_folder):
    return serve(Settings(models=translator_folder.parent, precision="fp32", threads=1))


def post(client, endpoint, **body):
    return client.post(f"/{endpoint}", json=body)


def test_both_endpoints_answer_over_http(client):
    response = post(
        client, "translate", texts=[KO, " "], source="ko", target="en", beams=2, n_best=2
    )
    assert response.status_code == 200
    answer, fault = response.json()["results"]
    assert fault["error"]["code"] == "bad_request"
    assert set(answer) == {
        "source", "source_tokens", "target", "translation", "translations", "sentences", "modules"
    }  # fmt: skip
    assert [set(each) for each in answer["translations"]] == [
        {"text", "score", "tokens", "cut"}
    ] * 2
    (made,) = post(client, "back_translate", texts=[KO], language="ko").json()["results"]
    assert set(made) == {"language", "pivot", "signature", "pairs", "modules"}
    assert {"source", "target", "score", "length_ratio", "keep", "reasons"} <= set(made["pairs"][0])


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "words"),
    [
        ("translate", {"source": "ko", "target": "xx"}, 404, "no language 'xx'"),
        ("translate", {"source": "ko", "target": "ko"}, 400, "source and target are both 'ko'"),
        ("translate", {"target": "en"}, 400, "source: name it"),
        ("translate", {"source": "ko"}, 400, "target: Field required"),
        ("translate", {"source": "ko", "target": "en", "beams": 9}, 400, "beams: "),
        ("translate", {"source": "ko", "target": "en", "beams": 0}, 400, "beams: "),
        ("translate", {"source": "ko", "target": "en", "n_best": 2}, 400, "n_best: got 2"),
        ("translate", {"source": "ko", "target": "en", "max_length": 1}, 400, "max_length: "),
        ("translate", {"source": "ko", "target": "en", "keep": [""]}, 400, "keep.0: "),
        ("translate", {"source": "ko", "target": "en", "keep": ["\u200b"]}, 400, "keep: got"),
        ("translate", {"source": "ko", "target": "en", "glossary": {"": "x"}}, 400, "glossary"),
        ("translate", {"source": "ko", "target": "en", "format": "md"}, 400, "format: "),
        ("translate", {"source": "ko", "target": "en", "no_repeat_ngram_size": -1}, 400, "no_rep"),
        ("translate", {"source": "ko", "target": "en", "repetition_penalty": 0.5}, 400, "repet"),
        ("translate", {"source": "ko", "target": "en", "length_ratio": 0}, 400, "length_ratio"),
        ("translate", {"source": "ko", "target": "en", "modules": ["ko-em"]}, 404, "ko-en"),
        ("back_translate", {"language": "ko", "mode": "best"}, 400, "mode: "),
        ("back_translate", {"language": "ko", "seed": -1}, 400, "seed: "),
        ("back_translate", {"language": "ko", "pivot": "xx"}, 404, "no language 'xx'"),
    ],
)
def test_bad_requests_over_http(client, endpoint, body, status, words):
    response = post(client, endpoint, texts=[KO], **body)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


def test_many_callers_at_once_over_http(client):
    bodies = [
        {"texts": [SENTENCES[source][0]], "source": source, "target": target}
        for source, target in [("ko", "en"), ("en", "ko"), ("mn", "kk"), ("kk", "mn")]
    ]
    alone = [post(client, "translate", **body).json() for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda body: post(client, "translate", **body).json(), bodies * 4))
    for one, other in zip(alone * 4, found, strict=True):
        assert one["results"][0]["translation"] == other["results"][0]["translation"]
