"""``training word_by_word``: translation from a dictionary alone, the outside reference.

The dictionary comes from the training pairs by IBM's first model (Brown et al. 1993): every word of
a sentence is translated by itself, order and forms stay. A translator that does not beat it has
learnt no more than words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from langmod.config import RunConfig
from langmod.specs import write_scores
from training.data.corpus import read_pairs
from training.data.pair_mix import sampled
from training.evaluation.measure import Measures, direction_of, pairs_by_origin, translation_metrics
from training.evaluation.translations import Translations, save_translations
from training.scoring.score import Sample, texts_digest
from training.scoring.translation_score import Pieces

WORD = re.compile(r"\w+")
NULL = "\0"
"""What target words without a counterpart are aligned with."""


class WordByWordConfig(RunConfig):
    """One run of ``training word_by_word``."""

    base: Path
    """Whose pieces one of the scores is counted over."""
    corpus: Path
    directions: tuple[str, ...]
    split: Literal["dev", "test"] = "test"
    sentences: int = 100
    """Most sentences of a direction and origin."""
    origins: tuple[str, ...] = ()
    """Origins of the scored sentences; all when empty."""
    max_pairs: int | None = 20_000
    """Training pairs that the dictionary is made from, drawn by seed."""
    rounds: int = 5
    seed: int = 1
    out: Path


def score_word_by_word(config: WordByWordConfig) -> Measures:
    """Makes the dictionaries and scores them as ``measure`` scores a translator.

    Raises:
        DataError: the corpus lacks a direction.
    """
    sample = Sample(corpus=config.corpus, split=config.split, sentences=config.sentences)
    found = []
    for name in config.directions:
        direction = direction_of(name)
        pairs = read_pairs(config.corpus, *direction, "train")
        dictionary = learn_dictionary(sampled(pairs, config.max_pairs, config.seed), config.rounds)
        for origin, own in pairs_by_origin(sample, direction, config.origins).items():
            sources, references = (list(side) for side in zip(*sample.draw(own), strict=True))
            found.append(
                Translations(
                    direction="-".join(direction),
                    origin=origin,
                    data=texts_digest([*sources, *references]),
                    references=references,
                    hypotheses=[replace_words(each, dictionary) for each in sources],
                )
            )
    pieces = Pieces(config.base)
    metrics = [
        m for each in found for m in translation_metrics(each, config.split, pieces, "words")
    ]
    config.out.mkdir(parents=True, exist_ok=True)
    save_translations(config.out, found)
    write_scores(config.out, metrics)
    return Measures(metrics=tuple(metrics))


def learn_dictionary(pairs: Sequence[tuple[str, str]], rounds: int) -> dict[str, str]:
    """Source word → the target word it most likely becomes, lower-case."""
    numbers: tuple[dict[str, int], dict[str, int]] = ({NULL: 0}, {})
    sides = [
        [
            [numbers[side].setdefault(word, len(numbers[side])) for word in words_of(pair[side])]
            for pair in pairs
        ]
        for side in (0, 1)
    ]
    links = np.array(list(links_of(*sides)), np.int64).reshape(-1, 3)  # [N, 3]
    sources, targets, chances = ibm_model_1(links, rounds)
    best = dict(
        (int(sources[entry]), int(targets[entry])) for entry in np.argsort(chances, kind="stable")
    )
    source_words, target_words = (list(each) for each in numbers)
    return {source_words[f]: target_words[e] for f, e in best.items() if f}


def words_of(text: str) -> list[str]:
    """Lower-case words, without punctuation."""
    return WORD.findall(text.lower())


def links_of(
    sources: Sequence[list[int]], targets: Sequence[list[int]]
) -> Iterator[tuple[int, int, int]]:
    """Each target word's number of occurrence with each source word that it may come from.

    Triples of source word, target word, occurrence; source word 0 stands for none.
    """
    occurrence = 0
    for source, target in zip(sources, targets, strict=True):
        for word in target:
            for cause in (0, *source):
                yield cause, word, occurrence
            occurrence += 1


def ibm_model_1(
    links: NDArray[np.int64], rounds: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Source words, target words and the chance of the second given the first, ``[M]`` each.

    Expectation maximisation from equal chances, over links ``[N, 3]`` as ``links_of`` gives them.
    """
    causes, words, occurrences = links.T
    width = int(words.max(initial=0)) + 1
    keys, entry = np.unique(causes * width + words, return_inverse=True)  # [M], [N]
    sources, targets = np.divmod(keys, width)
    chances = np.ones(len(keys))
    for _ in range(rounds):
        shares = chances[entry]  # [N]
        shares /= np.bincount(occurrences, shares)[occurrences]
        expected = np.bincount(entry, shares, len(keys))  # [M]
        chances = expected / np.bincount(sources, expected)[sources]
    return sources, targets, chances


def replace_words(text: str, dictionary: Mapping[str, str]) -> str:
    """Every known word by its translation, capital letters as they were; all else stays."""

    def other(found: re.Match[str]) -> str:
        word = found.group()
        translation = dictionary.get(word.lower(), word)
        return translation[:1].upper() + translation[1:] if word[0].isupper() else translation

    return WORD.sub(other, text)
