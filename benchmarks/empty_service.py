"""An empty BentoML service: a request's texts back, typed; what serving itself costs."""

import bentoml
from pydantic import BaseModel

TIMEOUT = 330
"""Seconds, as of our service."""


class Echo(BaseModel):
    """What was asked."""

    texts: list[str]
    language: str


@bentoml.service(name="empty", traffic={"timeout": TIMEOUT})
class Empty:
    """Nothing between the request and the answer."""

    @bentoml.api
    async def echo(self, texts: list[str], language: str) -> Echo:
        """The same texts."""
        return Echo(texts=texts, language=language)
