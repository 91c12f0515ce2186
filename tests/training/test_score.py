"""Scores against numbers worked out another way."""

import math

import pytest
import torch

from tests.langmod.models import VOCABULARY, xlmr
from training.baselines import classify_texts, tag_words
from training.packing import Special
from training.pseudo_perplexity import pseudo_likelihood
from training.task_data import LabelledText
from training.trainer import SparseHead
from training.translation_score import corpus_scores

SPECIAL = Special(start=0, end=2, pad=1, mask=VOCABULARY - 1)


def test_pseudo_likelihood_equals_one_token_at_a_time():
    base = xlmr()
    sparse = SparseHead(base.vocabulary_head())
    sentences = [("aé", [7, 9, 11]), ("b", [13]), ("cdef", [5, 6, 7, 8, 9, 10])]

    def forward(ids, mask):
        return base.model(input_ids=ids, attention_mask=mask).logits

    found = pseudo_likelihood(forward, sparse, sentences, SPECIAL)
    nats = 0.0
    for _, ids in sentences:
        for place, truth in enumerate(ids):
            row = torch.tensor([[SPECIAL.start, *ids, SPECIAL.end]])
            row[0, place + 1] = SPECIAL.mask
            with torch.no_grad():
                logits = base.model(input_ids=row).logits[0, place + 1]
            nats -= float(logits.log_softmax(-1)[truth])
    assert found.tokens == 10
    assert found.text_bytes == 8
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / 10), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / 8, rel=1e-5)


def test_a_uniform_model_has_the_vocabulary_as_perplexity():
    sparse = SparseHead(torch.nn.Identity())

    def forward(ids, mask):
        return torch.zeros(len(ids), 50)

    found = pseudo_likelihood(forward, sparse, [("abc", [7, 8, 9])], SPECIAL)
    assert found.perplexity == pytest.approx(50)


def test_corpus_scores_carry_sacrebleus_signature():
    scores = corpus_scores(["a b c d e"], ["a b c d e"], "en")
    assert scores["bleu"][0] == pytest.approx(100)
    assert scores["chrf++"][0] == pytest.approx(100)
    assert "tok:13a" in scores["bleu"][1]
    assert "nw:2" in scores["chrf++"][1]
    assert "tok:char" in corpus_scores(["가나"], ["가나"], "ko")["bleu"][1]


def test_the_linear_model_learns_labels():
    train = [
        LabelledText(f"{word} text {n}", word, "en") for n in range(9) for word in ("up", "no")
    ]
    assert classify_texts(train, train[:4]) == ["up", "no", "up", "no"]


def test_the_linear_tagger_answers_in_whole_words():
    train = [
        LabelledText(f"we saw {name} {n} there", [(7, 7 + len(name), "PER")], "en")
        for n in range(8)
        for name in ("Anna", "Bold")
    ]
    test = [LabelledText("we saw Anna 3 there", [], "en")]
    assert tag_words(train, test) == [[(7, 11, "PER")]]
