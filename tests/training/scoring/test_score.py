"""Scores against numbers worked out another way."""

import json
import math

import pytest
import torch

from adaptation.methods import METHODS
from langmod.specs import Metric
from tests.adaptation.models import VOCABULARY, module_for, xlmr
from tests.bases import make_base
from tests.text import SENTENCES
from training.data.packing import Special
from training.loop.trainer import SparseHead
from training.models.cards import write_card_scores
from training.scoring.pseudo_perplexity import Sentence, pseudo_likelihood
from training.scoring.score import Sample, open_base
from training.scoring.translation_score import corpus_scores, translate

SPECIAL = Special(start=0, end=2, pad=1, mask=VOCABULARY - 1)


def test_pseudo_likelihood_equals_one_token_at_a_time():
    base = xlmr()
    sparse = SparseHead(base.vocabulary_head())
    sentences = [
        Sentence("aé", [7, 9, 11]),
        Sentence("b", [13]),
        Sentence("cdef", [5, 6, 7, 8, 9, 10]),
    ]

    def forward(ids, mask):
        return base.model(input_ids=ids, attention_mask=mask).logits

    found = pseudo_likelihood(forward, sparse, sentences, SPECIAL)
    nats = 0.0
    for sentence in sentences:
        for place, truth in enumerate(sentence.ids):
            row = torch.tensor([[SPECIAL.start, *sentence.ids, SPECIAL.end]])
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

    found = pseudo_likelihood(forward, sparse, [Sentence("abc", [7, 8, 9])], SPECIAL)
    assert found.perplexity == pytest.approx(50)


def test_corpus_scores_carry_sacrebleus_signature():
    scores = corpus_scores(["a b c d e"], ["a b c d e"], "en")
    assert scores["bleu"][0] == pytest.approx(100)
    assert scores["chrf++"][0] == pytest.approx(100)
    assert "tok:13a" in scores["bleu"][1]
    assert "nw:2" in scores["chrf++"][1]
    assert "tok:char" in corpus_scores(["가나"], ["가나"], "ko")["bleu"][1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bare encoder; its texts are in `corpus`."""
    base = tmp_path_factory.mktemp("scored") / "base"
    make_base(base, "encoder")
    return base


def corpus_of(folder, **texts):
    for tag, lines in texts.items():
        (folder / "text" / tag).mkdir(parents=True)
        (folder / "text" / tag / "test.txt").write_text("\n".join(lines) + "\n")
    return folder


def values(metrics):
    return {metric.name: metric.value for metric in metrics}


def test_text_that_the_base_cannot_read_weighs_nothing(folder, tmp_path):
    scored, sample = open_base(str(folder)), {"split": "test"}
    line = "The train to the coast leaves at seven. " * 20
    encoded = scored.encoder.encode(line, truncate=True)
    read = line[: encoded.offsets[-2, 1]]
    assert len(encoded) == scored.spec.max_tokens
    assert len(read) < len(line)
    long = scored.place({}, ("en",), Sample(corpus=corpus_of(tmp_path / "a", en=[line]), **sample))
    cut = scored.place({}, ("en",), Sample(corpus=corpus_of(tmp_path / "b", en=[read]), **sample))
    assert values(long) == pytest.approx(values(cut), rel=1e-6)
    assert {metric.data for metric in long}.isdisjoint(metric.data for metric in cut)


def test_a_module_changes_the_score_and_a_sample_is_said(folder, tmp_path):
    scored = open_base(str(folder))
    corpus = corpus_of(tmp_path, mn=[*SENTENCES["mn"]])
    sample = Sample(corpus=corpus, split="test", sentences=3)
    architecture, method = scored.slotted.architecture, METHODS["lora"]
    module = module_for(architecture, method, method.Config(), seed=1)
    bare, changed, again = (scored.place(each, ("mn",), sample) for each in ({}, module, {}))
    assert values(bare) != values(changed)
    assert bare == again
    assert bare[0].signature == changed[0].signature
    assert bare[0].signature == "pll|sentences:3|seed:1|fp32"
    assert bare[0].data == changed[0].data


def test_a_sample_is_seeded_and_keeps_the_order(tmp_path):
    sample = Sample(corpus=tmp_path, split="dev", sentences=10)
    drawn = sample.draw(range(1000))
    assert drawn == sample.draw(range(1000)) == sorted(drawn)
    assert len(set(drawn)) == 10
    assert sample.draw(range(7)) == list(range(7))


def test_translations_keep_the_order_of_the_sentences(tmp_path):
    make_base(tmp_path / "base", "translator")
    scored = open_base(str(tmp_path / "base"))
    sentences = [*SENTENCES["mn"], "хот"] * 5
    with torch.no_grad():
        together = translate(scored.slotted, scored.encoder, sentences, ("mn", "en"))
        alone = translate(scored.slotted, scored.encoder, sentences[6:7], ("mn", "en"))
    assert len(set(together)) > 2
    assert together == together[:7] * 5
    assert together[6].startswith(alone[0])


def test_a_card_shows_the_newest_scores_only(tmp_path):
    (tmp_path / "README.md").write_text("# base\n\nabout\n\n## Scores\n\nold\n")
    shared = {"split": "test", "language": "mn", "data": "d"}
    metrics = [
        Metric(name="pppl", value=12.34567, signature="pll|x", **shared),
        Metric(name="bits_per_byte", value=1.5, signature="pll|x", **shared),
    ]
    write_card_scores(tmp_path, metrics)
    card = (tmp_path / "README.md").read_text()
    assert "| | pppl | bits_per_byte |\n|---|--:|--:|\n| mn | 12.346 | 1.500 |" in card
    assert card.startswith("# base\n\nabout\n\n## Scores\n\nThe bare base on the test split")
    assert "old" not in card
    assert "- pppl: `pll|x`" in card
    kept = json.loads((tmp_path / "evaluation.json").read_text())["metrics"]
    assert [Metric.model_validate(row) for row in kept] == metrics
