"""The page of endpoints at /, from files that the service itself serves, and what it shows."""

from collections.abc import Hashable
from functools import cache
from html import escape
from typing import cast

import bentoml
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from langmod import __version__
from service.openapi import TITLE, Json, describe, questions

POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""Browsers load nothing from other hosts; the styles and pictures of Swagger are in the page."""
PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE)} {escape(__version__)}</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>The endpoints are described in <a href="docs.json">docs.json</a>.</noscript>
<script src="static_content/swagger-ui-bundle.js"></script>
<script src="docs.js"></script>
</body>
</html>
"""
SCRIPT = """window.onload = () => SwaggerUIBundle({
  url: "docs.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
});
"""


@cache
def described(service: Hashable) -> Json:
    """The OpenAPI document of a service class's endpoints."""
    methods = {name: method for name, method in vars(service).items() if _is_endpoint(method)}
    return describe(questions({name: method.func for name, method in methods.items()}))


def _is_endpoint(method: object) -> bool:
    return hasattr(method, "input_spec")


def _index(request: Request) -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


def _script(request: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript")


def _document(request: Request) -> Response:
    return JSONResponse(described(cast(Hashable, type(bentoml.get_current_service()))))


def _docs(request: Request) -> Response:
    return RedirectResponse("./")


PAGES = [
    Route("/", _index),
    Route("/docs", _docs),
    Route("/docs.js", _script),
    Route("/docs.json", _document),
]
