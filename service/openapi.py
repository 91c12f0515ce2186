"""The description of the whole interface, OpenAPI 3.1, made of the schemas and the errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from langmod import __version__
from langmod.errors import (
    BadRequest,
    LangmodError,
    ModuleMismatch,
    Overloaded,
    Unavailable,
    UnknownLanguage,
    UnsureLanguage,
)
from service.bodies import BodyTooLarge, UnsupportedBody
from service.envelope import unexpected
from service.examples import EXAMPLES, LISTINGS, Example
from service.listing_schemas import LanguageListing, ModuleListing, TaskListing
from service.schemas import FaultBody, Request

Json = dict[str, Any]
TITLE = "langmod"
JSON_TYPE = "application/json"
FAULTS: Mapping[int, tuple[str, LangmodError]] = {
    400: ("The request is at fault.", BadRequest("texts: Field required", faults=["texts"])),
    404: ("Nobody published it.", UnknownLanguage("kor-eu", ["eu", "ko"])),
    409: (
        "A module that does not fit its base.",
        ModuleMismatch("alien", ["made for base other (000000000000)"]),
    ),
    413: ("Too large a body.", BodyTooLarge(8 * 2**20)),
    415: ("A body that is not read.", UnsupportedBody("content-encoding: got 'br'", got="br")),
    422: (
        "A language that cannot be told, or a damaged module.",
        UnsureLanguage(
            "detected Kazakh ('kk') with probability 0.41, next Kyrgyz ('ky') with 0.38: too "
            "unsure; name `language`, one of: kk, ky",
            field="language",
        ),
    ),
    429: ("The queue is full.", Overloaded("2048 texts wait already; try again later", 1)),
    500: ("A fault of ours.", unexpected()),
    503: ("Stopping, too slow, or no such base.", Unavailable("the service is stopping")),
}
"""Every status of a fault, what it means, and one of its faults."""
QUESTION_FAULTS = tuple(FAULTS)
LISTING_FAULTS = (500, 503)
LISTING_MODELS: Mapping[str, type[BaseModel]] = {
    "/languages": LanguageListing,
    "/tasks": TaskListing,
    "/modules": ModuleListing,
}
PAGES: Mapping[str, tuple[str, str]] = {
    "/": ("text/html", "This description, to read and to try."),
    "/docs.js": ("text/javascript", "What shows it."),
    "/docs.json": (JSON_TYPE, "This description."),
    "/schema.json": (JSON_TYPE, "BentoML's own description, for its clients."),
    "/livez": ("text/plain", "Whether the process lives."),
    "/healthz": ("text/plain", "The same."),
    "/readyz": ("text/plain", "Whether questions are answered."),
    "/metrics": ("text/plain", "Series for Prometheus."),
}


@dataclass(frozen=True)
class Question:
    """An endpoint that answers texts."""

    path: str
    request: type[Request]
    answers: type[BaseModel]
    about: str


def questions(methods: Mapping[str, Callable[..., Any]]) -> list[Question]:
    """The endpoints of methods whose hints name what they take and answer."""
    found = []
    for name, method in methods.items():
        hints = get_type_hints(method)
        about = (method.__doc__ or name).strip()
        found.append(Question(f"/{name}", hints["request"], hints["return"], about))
    return found


def describe(asked: Sequence[Question]) -> Json:
    """The OpenAPI document of these questions, and of the pages that are always there."""
    models = [each.request for each in asked] + [each.answers for each in asked]
    names, definitions = models_json_schema(
        [(model, "validation") for model in (*models, *LISTING_MODELS.values(), FaultBody)],
        ref_template="#/components/schemas/{model}",
    )
    references = {model.__name__: schema for (model, _), schema in names.items()}
    paths: Json = {each.path: {"post": _question(each, references)} for each in asked}
    for path, model in LISTING_MODELS.items():
        paths[path] = {"get": _listing(path, references[model.__name__])}
    for path, (kind, about) in PAGES.items():
        paths[path] = {"get": _page(path, kind, about)}
    leads = {"description": "To /.", "headers": {"Location": {"schema": {"type": "string"}}}}
    paths["/docs"] = {"get": {"operationId": "docs", "summary": "Leads to /.", "tags": ["pages"],
                              "responses": {"307": leads}}}  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": __version__,
            "description": "One multilingual base model in memory, every language and every task "
            "a small module beside it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "responses": {str(status): _fault(status) for status in FAULTS},
        },
    }


def _question(question: Question, references: Mapping[str, Json]) -> Json:
    example = EXAMPLES[question.path]
    return {
        "operationId": question.path.strip("/"),
        "summary": question.about,
        "tags": ["questions"],
        "requestBody": {
            "required": True,
            "content": _content(references[question.request.__name__], example.requests),
        },
        "responses": {
            "200": {
                "description": "An answer or a fault for each text, in order.",
                "content": _content(references[question.answers.__name__], example.answers),
            },
            **_faults(QUESTION_FAULTS),
        },
    }


def _listing(path: str, reference: Json) -> Json:
    name = path.strip("/")
    return {
        "operationId": name,
        "summary": f"The {name} that can be asked for.",
        "tags": ["listings"],
        "responses": {
            "200": {"description": "All of them.", "content": _content(reference, LISTINGS[path])},
            **_faults(LISTING_FAULTS),
        },
    }


def _page(path: str, kind: str, about: str) -> Json:
    schema = {"type": "object"} if kind == JSON_TYPE else {"type": "string"}
    return {
        "operationId": path.strip("/").replace(".", "_") or "index",
        "summary": about,
        "tags": ["pages"],
        "responses": {
            "200": {"description": about, "content": {kind: {"schema": schema}}},
            **_faults(LISTING_FAULTS),
        },
    }


def _content(schema: Json, examples: Mapping[str, Example]) -> Json:
    named = {name: {"summary": name, "value": value} for name, value in examples.items()}
    return {JSON_TYPE: {"schema": schema, "examples": named}}


def _faults(statuses: Sequence[int]) -> Json:
    return {str(each): {"$ref": f"#/components/responses/{each}"} for each in statuses}


def _fault(status: int) -> Json:
    about, error = FAULTS[status]
    response: Json = {
        "description": about,
        "content": _content(
            {"$ref": "#/components/schemas/FaultBody"}, {error.code: {"error": error.envelope()}}
        ),
    }
    if isinstance(error, Overloaded):
        about = "Seconds after which to try again."
        response["headers"] = {"Retry-After": {"description": about, "schema": {"type": "integer"}}}
    return response
