"""The dictionary of IBM's first model against sums written out, and translation by it."""

import itertools

import numpy as np
import pytest

from langmod.specs import read_scores
from tests.bases import make_base
from training.evaluation.translations import read_translations
from training.evaluation.word_by_word import (
    WordByWordConfig,
    ibm_model_1,
    learn_dictionary,
    links_of,
    replace_words,
    score_word_by_word,
)

PAIRS = [("das Haus", "the house"), ("das Buch", "the book"), ("ein Buch", "a book")]


def by_alignments(sources, targets, rounds):
    """The same expectation, over every alignment of whole sentences."""
    words = {word for target in targets for word in target}
    chances = {(f, e): 1.0 for f in {0, *itertools.chain(*sources)} for e in words}
    for _ in range(rounds):
        counts = dict.fromkeys(chances, 0.0)
        for source, target in zip(sources, targets, strict=True):
            ways = list(itertools.product([0, *source], repeat=len(target)))
            weights = [
                np.prod([chances[f, e] for f, e in zip(way, target, strict=True)]) for way in ways
            ]
            for way, weight in zip(ways, weights, strict=True):
                for f, e in zip(way, target, strict=True):
                    counts[f, e] += weight / sum(weights)
        totals = {f: sum(n for (g, _), n in counts.items() if g == f) for f, _ in counts}
        chances = {pair: counts[pair] / totals[pair[0]] for pair in counts}
    return chances


def test_chances_are_those_of_all_alignments():
    sources, targets = [[1, 2], [1, 3], [4, 3]], [[0, 1], [0, 2], [3, 2]]
    links = np.array(list(links_of(sources, targets)))
    found = {(f, e): p for f, e, p in zip(*ibm_model_1(links, 4), strict=True)}
    wanted = by_alignments(sources, targets, 4)
    assert len(found) == 4 + 3 + 2 + 3 + 2
    assert found == pytest.approx({pair: wanted[pair] for pair in found})
    assert found[3, 2] > 0.6 > found[3, 0]


def test_words_are_replaced_and_all_else_stays():
    dictionary = learn_dictionary(PAIRS, 20)
    assert dictionary["haus"] == "house"
    assert dictionary["buch"] == "book"
    assert replace_words("Buch: haus, Xyz 12!", dictionary) == "Book: house, Xyz 12!"


def test_it_is_scored_as_translators_are(small_corpus, tmp_path):
    make_base(tmp_path / "base", "translator")
    config = WordByWordConfig(
        base=tmp_path / "base",
        corpus=small_corpus,
        directions=("khk-eng", "eng-khk"),
        sentences=4,
        out=tmp_path / "words",
    )
    found = score_word_by_word(config)
    assert read_scores(tmp_path / "words") == list(found.metrics)
    assert {(m.name, m.language) for m in found.metrics} == {
        (f"{name} book", way) for name in ("chrf++", "bleu", "spbleu") for way in ("mn-en", "en-mn")
    }
    assert all(m.signature.endswith("|sentences:4|seed:1|words") for m in found.metrics)
    kept = read_translations(tmp_path / "words")
    assert [each.direction for each in kept] == ["mn-en", "en-mn"]
    into_english, _ = kept
    words = [word for text in into_english.hypotheses for word in text.split()[:-1]]
    assert any(word.isascii() for word in words), "all but the year at the end was Mongolian"
