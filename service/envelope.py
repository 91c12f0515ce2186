"""One form for every fault: ``{"error": {"code", "message", "details"}}`` and its HTTP status."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from langmod.errors import BadRequest, LangmodError, Overloaded, Unavailable
from service.schemas import Answers

logger = logging.getLogger("langmod.service")
Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])


def fault_response(error: LangmodError) -> Response:
    """The envelope of a fault, with ``Retry-After`` where waiting helps."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse({"error": error.envelope()}, error.status, headers)


def enveloped_fault(error: Exception, what: str) -> Response:
    """The envelope of whatever a request raised; what nobody meant to raise is logged as ours."""
    if isinstance(error, LangmodError):
        return fault_response(error)
    logger.error("%s failed", what, exc_info=error)
    return fault_response(unexpected())


def model_response(answer: BaseModel) -> Response:
    """An answer as JSON; one without a single answered text has the status of its first fault."""
    status = answer.status if isinstance(answer, Answers) else 200
    body = answer.model_dump_json(exclude_none=True)
    return Response(body, status, media_type="application/json")


def enveloped(method: Method) -> Method:
    """Makes an endpoint answer every fault in the envelope, bodies that do not validate included.

    The service's ``settings.timeout`` bounds its time; rows still waiting then leave the queue.
    """

    @functools.wraps(method)
    async def answered(service: Any, request: Any) -> Response:
        try:
            if isinstance(request, LangmodError):
                raise request
            _check_number(request.texts, service.settings.max_texts)
            async with asyncio.timeout(service.settings.timeout):
                return model_response(await method(service, request))
        except TimeoutError:
            return fault_response(_too_slow(service.settings.timeout))
        except Exception as error:
            return enveloped_fault(error, method.__name__)

    return answered  # type: ignore[return-value]


def _check_number(texts: Sequence[object], limit: int) -> None:
    if len(texts) > limit:
        raise BadRequest(
            f"texts: got {len(texts)}, at most {limit} in one request; send several requests",
            got=len(texts),
            limit=limit,
        )


def unexpected() -> LangmodError:
    """What a caller is told of a fault that is ours."""
    return LangmodError("the service failed on this request; its log says why")


def _too_slow(seconds: float) -> Unavailable:
    return Unavailable(
        f"not answered within {seconds:g} s; send fewer texts at a time, or try again later",
        seconds=seconds,
    )
