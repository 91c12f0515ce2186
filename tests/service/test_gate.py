import asyncio
import json

import pytest

from service.gate import Gate

SCOPE = {"type": "http", "method": "POST", "path": "/embed", "headers": []}


class Caller:
    """An HTTP caller: sends its body, then stays until told to leave."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)
        self.leaving = asyncio.Event()
        self.sent = []

    async def receive(self):
        if self.chunks:
            chunk = self.chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks)}
        await self.leaving.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"]


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope, receive, send):
    body = await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_a_body_passes_through():
    caller = Caller(b"ab", b"", b"cd")
    await Gate(echo, 4)(SCOPE, caller.receive, caller.send)
    assert caller.status == 200
    assert caller.sent[1]["body"] == b"abcd"


async def test_a_body_over_the_bound_is_refused_unread():
    caller = Caller(b"ab", b"cde", b"f" * 100)
    await Gate(echo, 4)(SCOPE, caller.receive, caller.send)
    assert caller.status == 413
    assert json.loads(caller.sent[1]["body"])["error"]["code"] == "body_too_large"
    assert caller.chunks == [b"f" * 100]


async def test_who_leaves_is_not_worked_for():
    caller = Caller(b"ab")
    cancelled = asyncio.Event()

    async def slow(scope, receive, send):
        await body_of(receive)
        caller.leaving.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await Gate(slow, 4)(SCOPE, caller.receive, caller.send)
    await asyncio.wait_for(cancelled.wait(), 5)
    assert caller.status == 499


async def test_a_time_out_from_outside_reaches_the_app():
    caller, cancelled = Caller(b"ab"), asyncio.Event()

    async def slow(scope, receive, send):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Gate(slow, 4)(SCOPE, caller.receive, caller.send), 0.05)
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_an_error_of_the_app_passes_through():
    async def failing(scope, receive, send):
        raise ValueError("boom")

    caller = Caller(b"ab")
    with pytest.raises(ValueError, match="boom"):
        await Gate(failing, 4)(SCOPE, caller.receive, caller.send)


async def test_other_requests_are_not_touched():
    caller = Caller(b"x" * 100)
    await Gate(echo, 4)({**SCOPE, "method": "PUT"}, caller.receive, caller.send)
    assert caller.sent[1]["body"] == b"x" * 100
