"""``training back_translate``: text of one language → pairs whose source a translator made.

Sennrich et al. 2016. The real text is the target, so that a model which trains on the pairs never
learns to write machine-made text. What the filters took is counted in the card.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from pydantic import Field

from langmod.config import Frozen, RunConfig
from langmod.errors import DataError
from langmod.langid import LanguageIdentifier
from langmod.languages import canonical
from langmod.synthetic_pairs import PairLimits, Reason, SyntheticPair
from training.data.corpus import pair_file, read_pairs, read_text, write_corpus
from training.data.corpus_card import About, CorpusCard, Count, SourceCard
from training.data.pair_mix import sampled
from training.data.pairs import Direction
from training.scoring.score import Scored, open_base
from training.scoring.translation_score import GREEDY, Search, translate

FURTHER = "not_among_best"
REASONS: tuple[str, ...] = (*get_args(Reason), FURTHER)


class Filters(Frozen):
    """Which pairs are kept; the order of the card is that in which they are looked at."""

    max_length_ratio: float = Field(default=2.5, ge=1)
    """Tokens of the longer side over those of the shorter."""
    min_chrf: float = Field(default=30.0, ge=0, le=100)
    """chrF of the round trip against the text."""
    keep_share: float = Field(default=1.0, gt=0, le=1)
    """The share kept of the pairs that passed all else in a direction, those of highest chrF: a
    measure that also fits translators whose every round trip is poor."""
    round_trip: bool = True
    """False: nothing is translated back, and chrF is not asked for."""
    identifier: Path | None = Path("models/langid")
    """Both sides must be in their language; None: not checked."""


class BackTranslateConfig(RunConfig):
    """One run of ``training back_translate``."""

    base: str
    """The translator, a folder or hub id that ``base.json`` describes."""
    corpus: Path
    """The corpus whose training text is translated, less that of its training pairs."""
    directions: tuple[str, ...]
    """Directions that are to be trained on the pairs: for ``en-mn`` Mongolian text is translated
    into English."""
    sentences: int = 1000
    """Sentences of text in each direction, before the filters."""
    max_tokens: int | None = None
    """Longer sentences are not taken; None: what the base reads."""
    search: Search = GREEDY
    """How the sources are made; the way back is greedy."""
    filters: Filters | None = Filters()
    """None: every pair is kept."""
    seed: int = 1
    """Seed of the choice of sentences."""
    out: Path
    """A corpus folder: ``parallel/en-mn/train.tsv``, source, target and how it was made."""


def back_translate(config: BackTranslateConfig) -> CorpusCard:
    """Makes, filters and writes the pairs of every direction.

    Raises:
        ConfigError: a base that is not described.
        DataError: no text in a language, or no pair left in a direction.
    """
    maker = PairMaker(config)
    files, counts = {}, []
    for name in config.directions:
        source, _, target = name.partition("-")
        direction = (canonical(source), canonical(target))
        pairs, lost = maker.kept(direction)
        label = "-".join(direction)
        files[pair_file(label, "train")] = [
            f"{pair.source}\t{pair.target}\tbt-{config.search.mode}" for pair in pairs
        ]
        counts.append(_count(config, label, len(pairs), lost))
        if not pairs:
            raise DataError(config.corpus, None, f"no synthetic pair of {label} is left: {lost}")
    return write_corpus(files, config.out, _about(config, maker.scored, counts))


class PairMaker:
    """A translator with the text it translates."""

    def __init__(self, config: BackTranslateConfig) -> None:
        self.config, self.scored = config, open_base(config.base)
        self.scored.slotted.to("cuda" if torch.cuda.is_available() else "cpu")
        filters = config.filters
        place = filters and filters.identifier
        self.identifier = LanguageIdentifier.load(place) if place else None

    def kept(self, direction: Direction) -> tuple[list[SyntheticPair], Counter[str]]:
        """The pairs of a direction that pass, in the order of the text, and what took others.

        A pair with several faults counts under the first.
        """
        pairs, filters = self.made(direction), self.config.filters
        lost: Counter[str] = Counter()
        if filters is None:
            return pairs, lost
        limits = PairLimits(
            filters.max_length_ratio, filters.min_chrf, filters.round_trip, self.identifier
        )
        reasons = [limits.reasons(pair) for pair in pairs]
        lost.update(found[0] for found in reasons if found)
        passed = [pair for pair, found in zip(pairs, reasons, strict=True) if not found]
        best = best_of(passed, filters.keep_share) if filters.round_trip else passed
        lost[FURTHER] = len(passed) - len(best)
        return best, lost

    def made(self, direction: Direction) -> list[SyntheticPair]:
        """All pairs of a direction, with their round trips where the filters ask for them."""
        source, target = direction
        texts = self.texts(direction)
        made = self._translated(texts, (target, source), self.config.search)
        trips: Sequence[str | None] = [None] * len(texts)
        if self.config.filters is not None and self.config.filters.round_trip:
            trips = self._translated(made, direction, GREEDY)
        return [
            SyntheticPair(
                target=text,
                language=target,
                source=translation,
                pivot=source,
                tokens=(self._tokens(translation, source), self._tokens(text, target)),
                round_trip=trip,
            )
            for text, translation, trip in zip(texts, made, trips, strict=True)
        ]

    def texts(self, direction: Direction) -> list[str]:
        """Sentences of the target language that are in no training pair and fit."""
        config, (_, target) = self.config, direction
        paired = {row[1] for row in read_pairs(config.corpus, *direction, "train")}
        alone = [row for row in read_text(config.corpus, target, "train") if row not in paired]
        limit = min(config.max_tokens or self.scored.spec.max_tokens, self.scored.spec.max_tokens)
        # Not all are looked at: counting the tokens of a large corpus takes long.
        looked_at = sampled(alone, 4 * config.sentences, config.seed)
        fitting = [text for text in looked_at if self._tokens(text, target) < limit]
        return sampled(fitting, config.sentences, config.seed)

    def _translated(self, texts: list[str], direction: Direction, search: Search) -> list[str]:
        slotted = self.scored.slotted
        with torch.no_grad():
            found = translate(slotted, self.scored.encoder, texts, direction, search)
        return [" ".join(text.split()) for text in found]

    def _tokens(self, text: str, language: str) -> int:
        found = self.scored.encoder.encode_sentence(text, language, truncate=True)
        return len(found.token_ids)


def best_of(pairs: Sequence[SyntheticPair], share: float) -> list[SyntheticPair]:
    """The share with the highest chrF, in their order; of equals the first."""
    ranked = sorted(range(len(pairs)), key=lambda place: -(pairs[place].chrf or 0.0))
    return [pairs[place] for place in sorted(ranked[: round(share * len(pairs))])]


def _count(config: BackTranslateConfig, label: str, kept: int, lost: Counter[str]) -> Count:
    return Count(
        source=f"bt-{config.search.mode}",
        languages=label,
        read=kept + lost.total(),
        dropped={name: lost[name] for name in REASONS if lost[name]},
        kept=kept,
    )


def _about(config: BackTranslateConfig, scored: Scored, counts: list[Count]) -> About:
    """What the card says: translator, text, filters, counts."""
    source = SourceCard(
        name=f"bt-{config.search.mode}",
        place=f"{config.corpus.name} translated by {scored.spec.name}@{scored.spec.digest[:12]}",
        licence=scored.spec.licence,
        url="training back_translate",
        skipped_filters=(),
    )
    return About(
        sources=(source,),
        filters=REASONS,
        counts=tuple(counts),
        config=config.model_dump(mode="json"),
    )
