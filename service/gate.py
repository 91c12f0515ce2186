"""The way in: bodies have a bound, and the rows of a caller who went away leave the queue."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.bodies import BodyTooLarge
from service.envelope import fault_response

GONE = 499
"""The status noted for a caller who did not wait, as nginx notes it."""


class Gate:
    """Reads a request ahead: refuses what is too large, cancels what nobody waits for.

    BentoML itself runs a request to its end when its caller is gone.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on whatever is no POST."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()
        running = asyncio.ensure_future(self.app(scope, messages.get, send))
        reading = asyncio.ensure_future(self._read(receive, messages))
        try:
            await asyncio.wait({running, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                running.cancel()
                await asyncio.wait({running})
                await self._refuse(reading.result(), scope, receive, send)
            else:
                running.result()
        finally:
            reading.cancel()
            running.cancel()

    async def _read(self, receive: Receive, messages: "asyncio.Queue[Message]") -> int:
        """Hands messages on until the caller leaves (0) or has sent too much (its bytes so far)."""
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return 0
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                return size
            messages.put_nowait(message)

    async def _refuse(self, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        if size:
            await fault_response(BodyTooLarge(self.max_bytes))(scope, receive, send)
            return
        # Nobody reads this, but BentoML's time-out waits for a response of any kind.
        await send({"type": "http.response.start", "status": GONE, "headers": []})
        await send({"type": "http.response.body", "body": b""})
