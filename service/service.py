"""The BentoML service: one short method an endpoint, the engines behind it."""

import bentoml

from service.bodies import Bodies
from service.engines import Engines
from service.envelope import enveloped
from service.gate import Gate
from service.listing import listing_app
from service.plain_faults import PlainFaults
from service.schemas import (
    Answers,
    ClassifyAnswer,
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    FillMaskAnswer,
    FillMaskRequest,
    TagAnswer,
    TagRequest,
)
from service.settings import Settings
from service.translator_schemas import (
    BackTranslateAnswer,
    BackTranslateRequest,
    TranslateAnswer,
    TranslateRequest,
)

SETTINGS = Settings()


@bentoml.asgi_app(listing_app)
@bentoml.service(name="langmod", traffic={"timeout": SETTINGS.timeout + 30})
class Langmod:
    """One multilingual base in memory, every language and every task a small module beside it."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.engines = Engines(SETTINGS)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Answers what waits and ends the workers."""
        self.engines.close()

    def __is_ready__(self) -> bool:
        return self.engines.ready

    @bentoml.api
    @enveloped
    async def fill_mask(self, request: FillMaskRequest, /) -> Answers[FillMaskAnswer]:
        """The likeliest words for each mask token of each text."""
        return Answers[FillMaskAnswer].of(await self.engines.encoder.ask("fill_mask", request))

    @bentoml.api
    @enveloped
    async def classify(self, request: ClassifyRequest, /) -> Answers[ClassifyAnswer]:
        """The labels of each text, or pair of texts, with their probabilities."""
        return Answers[ClassifyAnswer].of(await self.engines.encoder.ask("classify", request))

    @bentoml.api
    @enveloped
    async def tag(self, request: TagRequest, /) -> Answers[TagAnswer]:
        """The labelled spans of each text."""
        return Answers[TagAnswer].of(await self.engines.encoder.ask("tag", request))

    @bentoml.api
    @enveloped
    async def embed(self, request: EmbedRequest, /) -> Answers[EmbedAnswer]:
        """A vector for each text."""
        return Answers[EmbedAnswer].of(await self.engines.encoder.ask("embed", request))

    @bentoml.api
    @enveloped
    async def translate(self, request: TranslateRequest, /) -> Answers[TranslateAnswer]:
        """Translations of each text."""
        return Answers[TranslateAnswer].of(await self.engines.translator.translate(request))

    @bentoml.api
    @enveloped
    async def back_translate(
        self, request: BackTranslateRequest, /
    ) -> Answers[BackTranslateAnswer]:
        """Training pairs made by translating each text into a pivot language and back."""
        return Answers[BackTranslateAnswer].of(
            await self.engines.translator.back_translate(request)
        )


Langmod.add_asgi_middleware(PlainFaults)  # type: ignore[attr-defined]
Langmod.add_asgi_middleware(Gate, max_bytes=SETTINGS.max_bytes)  # type: ignore[attr-defined]
Langmod.add_asgi_middleware(Bodies, max_bytes=SETTINGS.max_bytes)  # type: ignore[attr-defined]
