"""The description is valid, whole and true: what it promises is what the service does."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.routing import Mount, Route

from langmod import __version__
from service import service
from service.examples import EXAMPLES
from service.openapi import FAULTS, describe, questions
from service.service import Langmod
from service.settings import Settings
from tests.text import SENTENCES

SHIPPED = Path(__file__).parents[2] / "models" / "langid"
KO = SENTENCES["ko"][0]
QUESTIONS = sorted(EXAMPLES)
EXAMPLES_EACH = 340
"""Of six questions: more than two thousand."""


@pytest.fixture(scope="module")
def described():
    methods = {name: method.func for name, method in Langmod.apis.items()}
    return describe(questions(methods))


def test_the_description_is_valid_openapi_3_1(described):
    assert described["openapi"].startswith("3.1")
    validate(described)
    assert described["info"]["title"] == "langmod"
    assert described["info"]["version"] == __version__


def test_every_route_is_described(described):
    routes = {}
    for route in Langmod.to_asgi().routes:
        inner = route.app.routes if isinstance(route, Mount) and not route.path else [route]
        routes |= {each.path: each.methods for each in inner if isinstance(each, Route)}
    assert set(described["paths"]) | {"/metrics"} == set(routes)
    for path, methods in described["paths"].items():
        assert {name.upper() for name in methods} == routes[path] - {"HEAD"}


@pytest.mark.parametrize("path", QUESTIONS)
def test_every_status_has_the_envelope_and_every_body_an_example(described, path):
    operation = described["paths"][path]["post"]
    assert set(operation["responses"]) == {"200", *map(str, FAULTS)}
    assert operation["requestBody"]["content"]["application/json"]["examples"]
    assert operation["responses"]["200"]["content"]["application/json"]["examples"]
    for status, (_, error) in FAULTS.items():
        assert error.status == status
        reference = operation["responses"][str(status)]["$ref"].rpartition("/")[2]
        content = described["components"]["responses"][reference]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/FaultBody"}
        ((code, example),) = content["examples"].items()
        assert example["value"]["error"]["code"] == code


@pytest.mark.parametrize("path", QUESTIONS)
def test_examples_fit_their_schemas(path):
    (question,) = [
        each
        for each in questions({name: method.func for name, method in Langmod.apis.items()})
        if each.path == path
    ]
    for example in EXAMPLES[path].requests.values():
        question.request.model_validate_json(json.dumps(example))
    for example in EXAMPLES[path].answers.values():
        question.answers.model_validate_json(json.dumps(example))


def test_the_page_loads_nothing_from_other_hosts(client):
    page = client.get("/")
    assert f"<title>langmod {__version__}</title>" in page.text
    assert not re.search(r"(https?:)?//", page.text)
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for place in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert client.get(f"/{place}").status_code == 200
    assert client.get("/docs").url.path == "/"
    assert "validatorUrl: null" in client.get("/docs.js").text


@pytest.fixture
def schema(monkeypatch, encoder_folder, translator_folder):
    """What a running service with both bases and an identifier says of itself."""
    models = encoder_folder.parent
    (models / "langid").symlink_to(SHIPPED)
    monkeypatch.setattr(service, "SETTINGS", Settings(models=models, precision="fp32", threads=1))
    # BentoML registers its own series once a process.
    monkeypatch.setitem(Langmod.config, "metrics", {"enabled": False})
    # Schemathesis starts the app in a loop of its own, and ends it with the process.
    return schemathesis.openapi.from_asgi("/docs.json", Langmod.to_asgi()).exclude(path="/metrics")


SENSIBLE = {
    "language": st.sampled_from(["ko", "mn-MN", "auto", "", None]),
    "source": st.sampled_from(["ko", "mn-MN", "auto", None]),
    "target": st.sampled_from(["en", "kk_KZ", "ko"]),
    "pivot": st.sampled_from(["en", "ko"]),
    "task": st.sampled_from(["topic", "ner", "sentiment"]),
    "modules": st.sampled_from([[], ["ko-lora"], ["ner-lora"], ["ko-en"]]),
    "texts": st.sampled_from([KO, [KO], [KO, "Hello <mask>"], [[KO, KO]]]),
}
"""Values that reach further into the service than what is drawn from types alone."""


def test_nothing_is_found_by_schemathesis(schema):
    found = Counter()

    @settings(
        max_examples=EXAMPLES_EACH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def ask(operation, data):
        case = data.draw(operation.as_strategy())
        if isinstance(case.body, dict):
            for field in sorted(set(case.body) & set(SENSIBLE)):
                if data.draw(st.integers(0, 3)):
                    case.body[field] = data.draw(SENSIBLE[field])
        # What no schema can say, an empty text or more of the best than beams, is refused as 400,
        # and a language that cannot be told as 422.
        response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
        found[operation.label, response.status_code] += 1

    for result in schema.get_all_operations():
        ask(result.ok())
    assert found.total() > 2000
    for path in QUESTIONS:
        assert found[f"POST {path}", 200] > 5
