"""The engines of the bases that lie in the models folder, one of each kind."""

import logging
from pathlib import Path

from langmod.errors import ConfigError, LangmodError, Unavailable
from langmod.langid import LanguageIdentifier
from langmod.specs import GraphSpec, Kind
from service.encoder import EncoderEngine
from service.settings import Settings
from service.translator import TranslatorEngine

logger = logging.getLogger("langmod.engines")
IDENTIFIER = "langid"
KINDS: tuple[Kind, ...] = ("encoder", "translator")


class Engines:
    """Opens what is there; asking for what is not is the caller's 503."""

    def __init__(self, settings: Settings) -> None:
        """Opens the bases and the language identifier.

        Raises:
            ConfigError: a base that was named is not there, or several could serve and none was.
            Unavailable: the provider asked for is not active.
        """
        self.settings = settings
        identifier = _identifier(settings.models / IDENTIFIER)
        encoder, translator = (find_base(settings, kind) for kind in KINDS)
        self._encoder = EncoderEngine(encoder, settings, identifier) if encoder else None
        self._translator = (
            TranslatorEngine(translator, settings, identifier) if translator else None
        )

    @property
    def encoder(self) -> EncoderEngine:
        """Serves fill_mask, classify, tag and embed.

        Raises:
            Unavailable: no encoder base is installed.
        """
        if self._encoder is None:
            raise self._missing("encoder")
        return self._encoder

    @property
    def translator(self) -> TranslatorEngine:
        """Serves translate and back_translate.

        Raises:
            Unavailable: no translator base is installed.
        """
        if self._translator is None:
            raise self._missing("translator")
        return self._translator

    @property
    def present(self) -> "list[EncoderEngine | TranslatorEngine]":
        """The engines that are open."""
        return [engine for engine in (self._encoder, self._translator) if engine is not None]

    @property
    def ready(self) -> bool:
        """Whether something can be asked, and all that was opened still runs."""
        return bool(self.present) and all(engine.scheduler.alive for engine in self.present)

    def close(self) -> None:
        """Ends every engine; waiting texts are answered 503."""
        for engine in self.present:
            engine.close()

    def _missing(self, kind: Kind) -> Unavailable:
        return Unavailable(
            f"no {kind} base with {self.settings.precision} graphs lies in "
            f"{self.settings.models.name}/: export one with `langmod export` and restart"
        )


def find_base(settings: Settings, kind: Kind) -> Path | None:
    """The folder of the base that serves a kind, None where there is none.

    Raises:
        ConfigError: a base that was named is not there, or several could serve and none was named.
    """
    named = settings.encoder if kind == "encoder" else settings.translator
    found = {
        path.parents[2].name: path.parents[2]
        for path in sorted(settings.models.glob(f"*/onnx/{settings.precision}/graph.json"))
        if GraphSpec.load(path.parent).base.kind == kind
    }
    if named is not None and named not in found:
        raise ConfigError(
            f"LANGMOD_{kind.upper()}={named}: no such {kind} with {settings.precision} graphs in "
            f"{settings.models}; there is: {', '.join(found) or 'none'}"
        )
    if named is None and len(found) > 1:
        raise ConfigError(
            f"{settings.models} holds several {kind} bases, {', '.join(found)}: "
            f"name one in LANGMOD_{kind.upper()}"
        )
    return found[named or next(iter(found))] if found else None


def _identifier(folder: Path) -> LanguageIdentifier | None:
    try:
        return LanguageIdentifier.load(folder)
    except LangmodError as error:
        logger.warning("texts without a language are refused: %s", error.message)
        return None
