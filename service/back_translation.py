"""Synthetic pairs as /back_translate answers them: their measures, and whether to keep them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from langmod.errors import LangmodError
from langmod.langid import LanguageIdentifier
from langmod.synthetic_pairs import PairLimits, SyntheticPair, chrf_signature
from service.engine import Json, Outcome
from service.translator_schemas import BackTranslateRequest


@dataclass(frozen=True)
class Pair(SyntheticPair):
    """A synthetic pair that says how likely its translation is."""

    score: float


@dataclass(frozen=True)
class PairFilter:
    """What a request asks of the pairs it keeps."""

    request: BackTranslateRequest
    identifier: LanguageIdentifier | None

    def answer(self, text: str, there: Json, back: Sequence[Outcome]) -> Json:
        """The answer to one text.

        Args:
            text: as it was given.
            there: its translations into the pivot language, as /translate answers.
            back: for each of these its own translation or fault; empty if not asked for.
        """
        trips = [None if isinstance(each, LangmodError) else each for each in back]
        pairs = [
            Pair(
                target=text,
                language=there["source"],
                source=draft["text"],
                pivot=there["target"],
                score=draft["score"],
                tokens=(draft["tokens"], there["source_tokens"]),
                round_trip=trip["translation"] if trip else None,
            )
            for draft, trip in zip_longest(there["translations"], trips)
        ]
        keys = [*there["modules"], *(key for trip in trips if trip for key in trip["modules"])]
        return {
            "language": there["source"],
            "language_probability": there["source_probability"],
            "pivot": there["target"],
            "signature": chrf_signature() if any(trips) else None,
            "pairs": [self.judge(pair) for pair in pairs],
            "modules": list(dict.fromkeys(keys)),
        }

    def judge(self, pair: Pair) -> Json:
        """A pair with its measures and every reason not to keep it."""
        limits = PairLimits(
            self.request.max_length_ratio,
            self.request.min_chrf,
            self.request.round_trip,
            self.identifier,
        )
        reasons = limits.reasons(pair)
        return {
            "source": pair.source,
            "target": pair.target,
            "score": pair.score,
            "round_trip": pair.round_trip,
            "chrf": pair.chrf,
            "length_ratio": round(pair.length_ratio, 3),
            "keep": not reasons,
            "reasons": reasons,
        }
