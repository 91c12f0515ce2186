"""Which machine-made pairs are worth training on: lengths, languages, chrF of the round trip."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from sacrebleu.metrics import CHRF

from langmod.langid import LanguageIdentifier

Reason = Literal[
    "empty",
    "copy",
    "length_ratio",
    "source_language",
    "target_language",
    "no_round_trip",
    "low_chrf",
]
"""Why not to keep a pair."""


@dataclass(frozen=True)
class SyntheticPair:
    """A text and its machine-made translation."""

    target: str
    """The text."""
    language: str
    source: str
    """The machine's translation of the target."""
    pivot: str
    tokens: tuple[int, int]
    """Numbers of tokens of source and target, language token and end included."""
    round_trip: str | None
    """The source translated back; None where it was not asked for or could not be made."""

    @cached_property
    def chrf(self) -> float | None:
        """The chrF of the round trip against the text, 0 to 100."""
        return None if self.round_trip is None else sentence_chrf(self.round_trip, self.target)

    @property
    def length_ratio(self) -> float:
        """Tokens of the longer side over those of the shorter."""
        return max(self.tokens) / min(self.tokens)


@dataclass(frozen=True)
class PairLimits:
    """What a pair must hold to be kept."""

    max_length_ratio: float
    min_chrf: float
    round_trip: bool
    """Whether there must be one."""
    identifier: LanguageIdentifier | None
    """None: no language is checked."""

    def reasons(self, pair: SyntheticPair) -> list[Reason]:
        """Every reason not to keep a pair, in the order of ``Reason``."""
        chrf = pair.chrf
        holds: dict[Reason, bool] = {
            "empty": not pair.source.strip(),
            "copy": _folded(pair.source) == _folded(pair.target),
            "length_ratio": pair.length_ratio > self.max_length_ratio,
            "source_language": self._is_other(pair.source, pair.pivot),
            "target_language": self._is_other(pair.target, pair.language),
            "no_round_trip": self.round_trip and pair.round_trip is None,
            "low_chrf": chrf is not None and chrf < self.min_chrf,
        }
        return [reason for reason, found in holds.items() if found]

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
