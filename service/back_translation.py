"""Which synthetic pairs are worth training on: chrF of the round trip, lengths, languages."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest

from sacrebleu.metrics import CHRF

from langmod.errors import LangmodError
from langmod.langid import LanguageIdentifier
from service.engine import Json, Outcome
from service.translator_schemas import BackTranslateRequest, Reason


@dataclass(frozen=True)
class Pair:
    """A text and its translation into the pivot language."""

    target: str
    """The text."""
    language: str
    source: str
    """Its translation."""
    pivot: str
    score: float
    tokens: tuple[int, int]
    """Of source and target, language token and end included."""
    round_trip: str | None
    """None where it was not asked for or could not be made."""


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
        ratio = max(pair.tokens) / min(pair.tokens)
        chrf = None if pair.round_trip is None else sentence_chrf(pair.round_trip, pair.target)
        holds: dict[Reason, bool] = {
            "empty": not pair.source.strip(),
            "copy": _folded(pair.source) == _folded(pair.target),
            "length_ratio": ratio > self.request.max_length_ratio,
            "source_language": self._is_other(pair.source, pair.pivot),
            "target_language": self._is_other(pair.target, pair.language),
            "no_round_trip": self.request.round_trip and pair.round_trip is None,
            "low_chrf": chrf is not None and chrf < self.request.min_chrf,
        }
        reasons = [reason for reason, found in holds.items() if found]
        return {
            "source": pair.source,
            "target": pair.target,
            "score": pair.score,
            "round_trip": pair.round_trip,
            "chrf": chrf,
            "length_ratio": round(ratio, 3),
            "keep": not reasons,
            "reasons": reasons,
        }

    def _is_other(self, text: str, language: str) -> bool:
        # An identifier that does not know the language cannot say that a text is not in it.
        if self.identifier is None or language not in self.identifier.languages:
            return False
        return bool(text.strip()) and self.identifier.predict([text])[0][0] != language


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """The chrF of one sentence (Popović 2015), 0 to 100."""
    return round(CHRF().sentence_score(hypothesis, [reference]).score, 2)


@cache
def chrf_signature() -> str:
    """The signature of ``sentence_chrf``, as sacrebleu writes it."""
    metric = CHRF()
    metric.sentence_score("", [""])
    return str(metric.get_signature().format())


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
