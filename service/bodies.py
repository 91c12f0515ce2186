"""Bodies as callers send them, gzipped or in UTF-16, become plain UTF-8 before they are read."""

import codecs
import json
import zlib
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langmod.errors import BadRequest
from service.envelope import fault_response

WINDOWS: Mapping[str, int] = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings that are read, with zlib's number for each."""


UNICODE = frozenset(
    {
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "utf-32-le",
        "utf-32-be",
        "ascii",
    }
)
"""Python's names of the charsets that are read."""


class BodyTooLarge(BadRequest):
    """A body of more bytes than are read."""

    code = "body_too_large"
    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body has more than {limit} bytes; send the texts in several requests", limit=limit
        )


class UnsupportedBody(BadRequest):
    """A body in an encoding that is not read."""

    code = "unsupported_body"
    status = 415


class Bodies:
    """Hands on each POST's body as plain UTF-8, whatever its encoding, charset and BOM."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on whatever is no POST."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, last = await _collected(receive)
        if last["type"] == "http.request":
            try:
                body = self._plain(scope, body)
            except BadRequest as error:
                await fault_response(error)(scope, receive, send)
                return
            last = {"type": "http.request", "body": body, "more_body": False}
        waiting = [last]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    def _plain(self, scope: Scope, body: bytes) -> bytes:
        """The body as its reader wants it; the headers of the scope are changed to match."""
        headers = MutableHeaders(scope=scope)
        for encoding in reversed(headers.get("content-encoding", "").lower().split(",")):
            body = _inflated(encoding.strip(), body, self.max_bytes)
        del headers["content-encoding"]
        kind, charset = _content_type(headers.get("content-type", ""))
        # curl calls any body a form, so the media type says nothing of JSON.
        if not kind.startswith("multipart/"):
            body = _utf8(body, charset)
        headers["content-length"] = str(len(body))
        return body


async def _collected(receive: Receive) -> tuple[bytes, Message]:
    """The whole body, and the last message: its end, or that the caller has left."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts), message


def _inflated(encoding: str, body: bytes, limit: int) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding not in WINDOWS:
        raise UnsupportedBody(
            f"content-encoding: got {encoding!r}; send gzip, deflate or a plain body", got=encoding
        )
    reader = zlib.decompressobj(WINDOWS[encoding])
    try:
        plain = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}, as its header says: {error}") from error
    if len(plain) > limit:
        raise BodyTooLarge(limit)
    if not reader.eof:
        raise BadRequest(f"the body is cut off: its {encoding} data has no end")
    return plain


def _content_type(header: str) -> tuple[str, str | None]:
    """The media type, and the charset where one is named."""
    kind, *parameters = header.split(";")
    named = dict(part.strip().lower().partition("=")[::2] for part in parameters)
    return kind.strip().lower(), named.get("charset", "").strip("\"' ") or None


def _utf8(body: bytes, charset: str | None) -> bytes:
    """JSON text as UTF-8 without a BOM; without a charset, Unicode's forms are told apart."""
    named = charset or json.detect_encoding(body)
    try:
        encoding = codecs.lookup(named).name
    except LookupError:
        encoding = ""
    if encoding not in UNICODE:
        raise UnsupportedBody(
            f"charset: got {named!r}; send UTF-8 or another Unicode form", got=named
        )
    if encoding == "utf-8" and not body.startswith(codecs.BOM_UTF8):
        return body
    try:
        return body.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        raise BadRequest(f"the body is not {named} text: {error}") from error
