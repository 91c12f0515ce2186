"""The language of a text that came without one: its script, then the identifier, then doubts."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from langcodes import Language
from py3langid.langid import MODEL_FILE
from py3langid.langid import LanguageIdentifier as ManyLanguages

from langmod.errors import UnsureLanguage
from langmod.langid import LanguageIdentifier
from langmod.languages import canonical, english_name, script_name, usual_script
from langmod.scripts import main_script
from langmod.tasks import DIGITS

READ = 2000
"""Characters of a text that are looked at."""
NOISE = re.compile(
    r"<!--.*?-->|https?://\S+|www\.\S+|[\w.+-]{1,64}@[\w.-]+|</?[a-zA-Z][^<>]*>|&#?\w+;|\{[^{}]*\}",
    re.DOTALL,
)
"""Addresses, markup and placeholders: Latin letters that say nothing of a text's language."""
UNSERVED = 0.1
"""How likely a language is that the base does not serve, beside one that it does."""
PRIOR_POWER = 0.4
"""Of the number of a language's speakers: what a short text is taken for."""
STRANGER = 0.8
"""Probability at which a language that the identifier never learnt is believed."""
NO_STRANGERS = frozenset({"zxx", "wuu", "yue"})
"""Labels for no language at all, and for languages written as Chinese is."""
Ranked = Sequence[tuple[str, float]]
"""Languages with their probabilities, the likeliest first."""


@dataclass(frozen=True)
class Choice:
    """What a text may be in."""

    served: Collection[str]
    """All that the base serves."""
    possible: Collection[str]
    """Those among them that this request can be answered in."""
    field: str = "language"
    """Of the request, in which the language would have been named."""


class Detector:
    """Says which of the languages of a base a text is in, or that it cannot tell."""

    def __init__(self, identifier: LanguageIdentifier, threshold: float) -> None:
        """Takes the identifier and the least probability that counts as sure."""
        self._identifier = identifier
        self._threshold = threshold
        self._many = many_languages()

    def detect(self, text: str, choice: Choice) -> tuple[str, float]:
        """The language of a text, and its probability.

        Raises:
            UnsureLanguage: no letters, a script or language that is not served, or not sure.
        """
        words = NOISE.sub(" ", text[:READ])
        script = main_script(words)
        if script is None:
            raise _unsure(choice, "the text has no letters to tell its language by")
        if not any(script in scripts_of(tag) for tag in choice.served):
            told = f"the text is in {script_name(script)} script, in which nothing is served here"
            raise _unsure(choice, told, script=script)
        ranked = self._ranked(words, script, choice)
        tag, probability = ranked[0]
        if probability < self._threshold:
            raise _unsure(choice, f"{_told(ranked)}: too unsure", ranked)
        if tag not in choice.possible:
            raise _unsure(choice, f"{_told(ranked)}: this cannot be answered in it", ranked)
        return tag, round(probability, DIGITS)

    def rank(self, text: str, choice: Choice) -> Ranked:
        """Languages of the script of a text; empty for a text without letters."""
        words = NOISE.sub(" ", text[:READ])
        script = main_script(words)
        return self._ranked(words, script, choice) if script else []

    def _weights(self, script: str, choice: Choice) -> dict[str, float]:
        """How likely each language of a script is before the text is read."""
        return {
            tag: popularity(tag) * (1 if tag in choice.served else UNSERVED)
            for tag in self._identifier.languages
            if script in scripts_of(tag)
        }

    def _ranked(self, words: str, script: str, choice: Choice) -> Ranked:
        ranked = self._identifier.rank(words, self._weights(script, choice))
        label, probability = self._many.classify(words)
        other = known_as(label)
        if not ranked:
            return [(other, probability)]
        # Only of languages that both know can one lose to a language that only the other knows.
        lost = ranked[0][0] in self._shared and other not in self._not_strangers
        if not lost or probability < STRANGER:
            return ranked
        return [(other, probability), *((tag, (1 - probability) * p) for tag, p in ranked)]

    @cached_property
    def _shared(self) -> frozenset[str]:
        return frozenset(self._identifier.languages) & {known_as(tag) for tag in self._many.labels}

    @cached_property
    def _not_strangers(self) -> frozenset[str]:
        return NO_STRANGERS | frozenset(self._identifier.languages)


@cache
def many_languages() -> ManyLanguages:
    """An identifier of 140 languages; less sure than ours of those it shares with it."""
    return ManyLanguages.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def known_as(label: str) -> str:
    """The canonical tag of a label of that identifier."""
    return label if label in NO_STRANGERS else canonical(label)


@cache
def popularity(tag: str) -> float:
    """How likely a language is before anything is read, from CLDR's number of its speakers."""
    return float(max(Language.get(tag).speaking_population(), 1) ** PRIOR_POWER)


@cache
def scripts_of(tag: str) -> frozenset[str]:
    """The scripts a language is recognised in; Japanese may be written in Han letters alone."""
    usual = usual_script(tag)
    return frozenset({usual, "Hans"} if usual == "Jpan" else {usual})


def _told(ranked: Ranked) -> str:
    (tag, probability), *rest = ranked
    told = f"detected {english_name(tag)} ({tag!r}) with probability {probability:.2f}"
    if rest:
        told += f", next {english_name(rest[0][0])} ({rest[0][0]!r}) with {rest[0][1]:.2f}"
    return told


def _unsure(choice: Choice, told: str, ranked: Ranked = (), **details: object) -> UnsureLanguage:
    possible = sorted(choice.possible)
    detected = [
        {"language": tag, "probability": round(probability, DIGITS)}
        for tag, probability in ranked[:2]
    ]
    return UnsureLanguage(
        f"{told}; name `{choice.field}`, one of: {', '.join(possible)}",
        field=choice.field,
        possible=possible,
        detected=detected,
        **details,
    )
