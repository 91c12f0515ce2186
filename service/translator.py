"""The engine of a translator base: rows of any direction and search in one batch.

Back-translation is two translations, there and back, and a verdict on what came of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import ClassVar
from zlib import crc32

from langmod.errors import BadRequest, ConfigError, LangmodError
from langmod.langid import LanguageIdentifier
from langmod.languages import unserved
from langmod.tasks import DIGITS, Text
from service.back_translation import PairFilter
from service.bank import Pinned, Stack
from service.decoding import Decoder
from service.engine import Engine, Json, Outcome, Prepared, Spoken, known
from service.passages import Leg, Passage, Passages, TranslatorRow
from service.searches import Hypothesis, Sampling
from service.settings import Settings
from service.stacks import Wanted
from service.text.characters import clean, is_blank
from service.text.detection import Choice
from service.text.documents import Wishes
from service.translator_schemas import BackTranslateRequest, TranslateRequest

Direction = tuple[str, str]
"""Source and target language."""


class TranslatorEngine(Engine[TranslatorRow]):
    """Serves translate and back_translate."""

    alike: ClassVar[bool] = False
    """A step of the decoder takes little longer for more rows: none waits for another batch."""

    def __init__(
        self, folder: Path, settings: Settings, identifier: LanguageIdentifier | None
    ) -> None:
        super().__init__(folder, settings, identifier)
        if self.base.decoder_start_id is None:
            raise ConfigError(f"{folder}: no decoder_start_id; describe and export the base again")
        self._passages = Passages(self.encoder, self.base.decoder_start_id, settings)
        self._decoder = Decoder(self.graphs)

    async def translate(self, request: TranslateRequest) -> list[Outcome]:
        """Translates texts; a fault of one text stands in its place.

        Raises:
            BadRequest: options that do not go together, or source and target are one language.
            UnknownLanguage: the source or target is not served.
        """
        legs = await asyncio.to_thread(self._legs, request)
        return await self._run("translate", request.texts, legs, request.modules)

    async def back_translate(self, request: BackTranslateRequest) -> list[Outcome]:
        """Makes synthetic pairs of texts; a fault of one text stands in its place.

        Raises:
            BadRequest: options that do not go together, or text and pivot are of one language.
            UnknownLanguage: the language or pivot is not served.
        """
        legs = await asyncio.to_thread(self._legs_there, request)
        there = await self._run("back_translate", request.texts, legs, request.modules)
        drafts = [
            (leg, each["text"])
            for leg, outcome in zip(legs, there, strict=True)
            if isinstance(leg, Leg) and not isinstance(outcome, LangmodError)
            for each in outcome["translations"]
        ]
        back: list[Outcome] = []
        if request.round_trip and drafts:
            beams = request.beams if request.mode == "beam" else 1
            home = [
                Leg(
                    Spoken(leg.target),
                    leg.source.tag,
                    beams,
                    wishes=Wishes(leg.target, marks=False),
                )
                for leg, _ in drafts
            ]
            texts = [text for _, text in drafts]
            back = await self._run("back_translate", texts, home, request.modules)
        return await asyncio.to_thread(self._judged, request, there, back)

    def execute(self, rows: list[TranslatorRow], pinned: Pinned) -> list[list[Hypothesis]]:
        """The finished hypotheses of each row."""
        return self._decoder.decode([row.sentence for row in rows], pinned)

    async def _run(
        self,
        endpoint: str,
        texts: Sequence[str],
        legs: Sequence[Leg | LangmodError],
        modules: Sequence[str],
    ) -> list[Outcome]:
        @cache
        def stack(direction: Direction) -> Stack:
            return self._stack(direction, modules)

        def prepare(place: int, text: Text) -> Json | Prepared[TranslatorRow]:
            leg = known(legs[place])
            begin, through = self._passages.begin, self._via(leg, modules)
            if through is None:
                own = stack(leg.direction)
                return begin(str(text), leg, own, lambda only: self._answer(only, only))
            there, on = (stack(each) for each in pairwise((leg.source.tag, through, leg.target)))
            to_pivot = replace(leg, target=through, n_best=1, max_length=None)
            from_pivot = replace(leg, source=Spoken(through), wishes=leg.wishes.spoken(through))
            return begin(
                str(text),
                to_pivot,
                there,
                lambda first: begin(
                    first.result.drafts[0].text,
                    from_pivot,
                    on,
                    lambda last: self._answer(first, last),
                ),
            )

        return await self.answer(endpoint, texts, lambda: prepare)

    def _legs(self, request: TranslateRequest) -> list[Leg | LangmodError]:
        _check_most("n_best", request.n_best, request.beams, "ask for more beams")
        if request.max_length is not None:
            limit = self.base.most_written
            _check_most("max_length", request.max_length, limit, f"{self.base.name} writes no more")
        target = self._target("target", request.target)
        source = self.resolver.tag(request.source) or self._named_source(request.modules, target)
        return [
            each if isinstance(each, LangmodError) else self._leg(request, each, target)
            for each in self._speak(request, source, target, "source")
        ]

    def _leg(self, request: TranslateRequest, source: Spoken, target: str) -> Leg:
        settings = self.settings
        ngram, penalty = request.no_repeat_ngram_size, request.repetition_penalty
        pivot = settings.pivot if request.pivot is None else request.pivot
        return Leg(
            source,
            target,
            request.beams,
            request.n_best,
            request.max_length,
            length_ratio=request.length_ratio,
            no_repeat_ngram=settings.no_repeat_ngram if ngram is None else ngram,
            repetition_penalty=settings.repetition_penalty if penalty is None else penalty,
            wishes=Wishes(
                source.tag,
                tuple(_read(each, "keep") for each in request.keep),
                {
                    _read(term, "glossary"): clean(into).text
                    for term, into in request.glossary.items()
                },
            ),
            html=request.format == "html",
            pivot=self.resolver.tag(pivot) if pivot else None,
        )

    def _via(self, leg: Leg, modules: Sequence[str]) -> str | None:
        """The pivot of a direction that has no module of its own, if both halves have one."""
        pivot, direct = leg.pivot, leg.direction
        if pivot is None or pivot in direct or modules or self._has_module(direct):
            return None
        halves = (leg.source.tag, pivot), (pivot, leg.target)
        return pivot if all(map(self._has_module, halves)) else None

    def _has_module(self, direction: Direction) -> bool:
        return self.resolver.index.find(lambda m: (m.source, m.target) == direction) is not None

    def _legs_there(self, request: BackTranslateRequest) -> list[Leg | LangmodError]:
        if request.mode == "greedy":
            _check_most("n", request.n, 1, "greedy search finds one; ask for mode beam or sample")
        elif request.mode == "beam":
            _check_most("n", request.n, request.beams, "ask for more beams or mode sample")
        pivot = self._target("pivot", request.pivot)
        language = self.resolver.tag(request.language) or self._named_source(request.modules, pivot)
        width = {"beam": request.beams, "greedy": 1, "sample": request.n}[request.mode]
        spoken = self._speak(request, language, pivot, "language")
        return [
            each
            if isinstance(each, LangmodError)
            else Leg(
                each,
                pivot,
                width,
                request.n,
                sampling=self._sampling(request, text),
                wishes=Wishes(each.tag, marks=False),
            )
            for each, text in zip(spoken, request.texts, strict=True)
        ]

    def _target(self, field: str, name: str) -> str:
        tag = self.resolver.tag(name)
        if tag is None:
            known = ", ".join(sorted(self.base.language_tokens))
            raise BadRequest(f"{field}: got {name!r}, name a language; known: {known}", got=name)
        self._check_written(tag)
        return tag

    def _named_source(self, modules: Sequence[str], target: str) -> str | None:
        """The language that a named module translates into the target from, if there is one."""
        pairs = filter(None, map(self._direction_of, modules))
        return next((source for source, into in pairs if into == target), None)

    def _speak(
        self,
        request: TranslateRequest | BackTranslateRequest,
        given: str | None,
        target: str,
        field: str,
    ) -> list[Spoken | LangmodError]:
        """The language of each text; what is wrong with all directions is raised now."""
        if given is not None:
            self._check_direction((given, target))
        served = set(self.base.languages)
        choice = Choice(served, served - {target}, field)
        spoken = self.speak(request.texts, given, lambda: choice)
        there = {(each.tag, target) for each in spoken if isinstance(each, Spoken)}
        back = {(into, source) for source, into in there}
        self._check_modules(
            request.modules, there | back if isinstance(request, BackTranslateRequest) else there
        )
        if given is not None:
            self._stack((given, target), request.modules)
        return spoken

    def _sampling(self, request: BackTranslateRequest, text: str) -> Sampling | None:
        if request.mode != "sample":
            return None
        top_k = min(request.top_k, self.encoder.written)
        # Of the text, not its place: the same text draws the same in any company.
        return Sampling(
            top_k, request.temperature, (request.seed, crc32(clean(text).text.encode()))
        )

    def _check_direction(self, direction: Direction) -> None:
        source, target = direction
        if source == target:
            raise BadRequest(
                f"source and target are both {source!r}; name another of them",
                source=source,
                target=target,
            )
        self._check_served(source)
        self._check_written(target)

    def _stack(self, direction: Direction, modules: Sequence[str]) -> Stack:
        source, target = direction
        named = tuple(name for name in modules if self._direction_of(name) in (None, direction))
        return self.resolver.stack(Wanted(source=source, target=target, modules=named))

    def _direction_of(self, reference: str) -> Direction | None:
        manifest = self.resolver.index.named(reference).manifest
        source, target = manifest.source, manifest.target
        return (source, target) if source and target else None

    def _check_served(self, tag: str) -> None:
        if tag not in self.base.languages:
            raise unserved(tag, sorted(self.base.languages))

    def _check_written(self, tag: str) -> None:
        if tag not in self.base.language_tokens:
            raise unserved(tag, sorted(self.base.language_tokens))

    def _check_modules(self, modules: Sequence[str], directions: set[Direction]) -> None:
        for name in modules:
            direction = self._direction_of(name)
            if direction is not None and direction not in directions:
                asked = ", ".join("→".join(each) for each in sorted(directions))
                raise BadRequest(f"modules: {name!r} serves {'→'.join(direction)}, not {asked}")

    def _answer(self, first: Passage, last: Passage) -> Json:
        """The answer to a text that came through one leg, or through two."""
        translations = [
            {
                "text": each.text,
                "score": round(each.score, DIGITS),
                "tokens": each.tokens,
                "cut": each.cut,
            }
            for each in last.result.drafts
        ]
        through = [first] if first is last else [first, last]
        return {
            "source": first.leg.source.tag,
            "source_probability": first.leg.source.probability,
            "source_tokens": first.source_tokens,
            "target": last.leg.target,
            "translation": translations[0]["text"],
            "translations": translations,
            "sentences": first.result.sentences,
            "via": None if first is last else first.leg.target,
            "fallback": not any(each.stack.keys for each in through) or None,
            "modules": [key for each in through for key in each.stack.keys],
        }

    def _judged(
        self, request: BackTranslateRequest, there: Sequence[Outcome], back: Sequence[Outcome]
    ) -> list[Outcome]:
        judge, round_trips = PairFilter(request, self._identifier), iter(back)
        return [
            outcome
            if isinstance(outcome, LangmodError)
            else judge.answer(
                text, outcome, list(islice(round_trips, len(outcome["translations"])))
            )
            for text, outcome in zip(request.texts, there, strict=True)
        ]


def _check_most(field: str, got: int, limit: int, advice: str) -> None:
    if got > limit:
        raise BadRequest(f"{field}: got {got}, at most {limit}; {advice}", got=got, limit=limit)


def _read(wish: str, field: str) -> str:
    text = clean(wish).text
    if is_blank(text):
        raise BadRequest(f"{field}: got {wish!r}, which nobody can see in a text; leave it out")
    return text
