"""Bodies as callers send them: compressed, in other Unicode forms, with byte order marks."""

import asyncio
import codecs
import gzip
import zlib

import pytest
from starlette.testclient import TestClient

from service.bodies import Bodies

TEXT = '{"texts": ["Сайн уу 한국어 🙂"]}'


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    names = [name for name, _ in scope["headers"]]
    assert b"content-encoding" not in names
    assert dict(scope["headers"])[b"content-length"] == str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def client():
    return TestClient(Bodies(echo, 1000))


def post(client, body, kind="application/json", encoding=None):
    headers = {"content-type": kind} | ({"content-encoding": encoding} if encoding else {})
    return client.post("/embed", content=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "kind", "encoding"),
    [
        (TEXT.encode(), "application/json", None),
        (TEXT.encode(), "application/x-www-form-urlencoded", None),
        (TEXT.encode(), "application/json; charset=UTF-8", "identity"),
        (codecs.BOM_UTF8 + TEXT.encode(), "application/json", None),
        (codecs.BOM_UTF8 + TEXT.encode(), 'application/json; charset="utf-8"', None),
        (TEXT.encode("utf-16"), "application/json; charset=utf-16", None),
        (TEXT.encode("utf-16-le"), "application/json;charset=UTF-16LE", None),
        (TEXT.encode("utf-16-be"), "application/json; charset=utf-16be", None),
        (TEXT.encode("utf-16"), "application/json", None),
        (TEXT.encode("utf-16-le"), "application/json", None),
        (TEXT.encode("utf-32"), "application/json", None),
        (gzip.compress(TEXT.encode(), mtime=0), "application/json", "gzip"),
        (gzip.compress(TEXT.encode(), mtime=0), "application/json", "GZIP"),
        (zlib.compress(TEXT.encode()), "application/json", "deflate"),
        (gzip.compress(TEXT.encode("utf-16"), mtime=0), "application/json; charset=utf-16", "gzip"),
        (gzip.compress(zlib.compress(TEXT.encode()), mtime=0), "application/json", "deflate, gzip"),
    ],
)
def test_bodies_are_read(client, body, kind, encoding):
    assert post(client, body, kind, encoding).text == TEXT


def test_a_body_in_parts_is_read_whole(client):
    parts = [TEXT.encode()[:10], b"", TEXT.encode()[10:]]
    assert post(client, iter(parts)).text == TEXT


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ((b"{}", "application/json", "br"), 415, "got 'br'; send gzip, deflate or a plain body"),
        (
            (b"{}", "application/json; charset=koi8-r", None),
            415,
            "charset: got 'koi8-r'; send UTF-8",
        ),
        ((b"{}", "application/json; charset=nonsense", None), 415, "charset: got 'nonsense'"),
        ((b"{}", "application/json; charset=hex", None), 415, "charset: got 'hex'"),
        ((b"{}", "application/json", "gzip"), 400, "the body is not gzip, as its header says"),
        ((gzip.compress(b"x" * 99)[:-9], "application/json", "gzip"), 400, "cut off"),
        (
            (gzip.compress(b"x" * 1001, mtime=0), "application/json", "gzip"),
            413,
            "more than 1000 bytes",
        ),
        ((b"\xff\xfea", "application/json; charset=utf-16", None), 400, "not utf-16 text"),
        ((b"\xd8", "application/json; charset=ascii", None), 400, "not ascii text"),
    ],
)
def test_bodies_that_are_not(client, sent, status, words):
    response = post(client, *sent)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


def test_what_is_sent_stays_json_s_business(client):
    """Not UTF-8, but of no other form either: whoever reads the JSON says where."""
    assert post(client, b'{"a": "\xff"}').content == b'{"a": "\xff"}'


def test_a_caller_who_leaves_early_is_passed_on():
    sent = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())

    async def receive():
        return sent.pop(0)

    scope = {"type": "http", "method": "POST", "headers": []}
    asyncio.run(Bodies(app, 1000)(scope, receive, None))
    assert seen == [{"type": "http.disconnect"}]
