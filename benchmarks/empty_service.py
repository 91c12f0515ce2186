"""An empty BentoML service: a request's texts back, typed; what serving itself costs."""

import bentoml
from pydantic import BaseModel


class Echo(BaseModel):
    """What was asked."""

    results: list[dict[str, str]]
    language: str


@bentoml.service(name="empty", traffic={"timeout": 330})
class Empty:
    """Nothing between the request and the answer; the time-out is our service's."""

    @bentoml.api
    async def echo(self, texts: list[str], language: str) -> Echo:
        """The same texts."""
        return Echo(results=[{"text": text} for text in texts], language=language)
