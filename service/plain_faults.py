"""The way out: faults that BentoML and Starlette word themselves, put in our envelope."""

import json
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CODES: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed", 503: "unavailable"}


class PlainFaults:
    """Answers with a status of 400 and above leave as ``{"error": {code, message, details}}``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Holds a fault back until it is whole; everything else passes."""
        held: list[Message] = []

        async def pass_or_hold(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                held.append(message)
            elif held:
                held.append(message)
                if not message.get("more_body"):
                    await _send(held, scope, receive, send)
            else:
                await send(message)

        await self.app(scope, receive, pass_or_hold if scope["type"] == "http" else send)


async def _send(held: list[Message], scope: Scope, receive: Receive, send: Send) -> None:
    body = b"".join(message.get("body", b"") for message in held[1:])
    text = body.decode(errors="replace").strip()
    if not text or _is_envelope(text):
        for message in held:
            await send(message)
        return
    status = held[0]["status"]
    fault = {"code": CODES.get(status, "refused"), "message": _worded(text, status, scope)}
    headers = {
        name: value
        for name, value in Headers(raw=held[0]["headers"]).items()
        if not name.startswith("content-")
    }
    response = JSONResponse({"error": {**fault, "details": {}}}, status, headers)
    await response(scope, receive, send)


def _is_envelope(text: str) -> bool:
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return isinstance(content, dict) and isinstance(content.get("error"), dict)


def _worded(text: str, status: int, scope: Scope) -> str:
    asked = f"{scope['method']} {scope['path']}"
    if status == 404:
        return f"nothing answers {asked}; the endpoints are listed at GET /docs"
    if status == 405:
        return f"{asked} is not allowed; questions are sent with POST, lists are read with GET"
    return text
