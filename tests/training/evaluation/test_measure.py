"""What a study scores: both pseudo-likelihoods, unknown tokens, kept bases, translations."""

import math

import pytest
import sacrebleu
import torch
from transformers import AutoTokenizer

from langmod.encoding import TextEncoder
from langmod.errors import ConfigError
from tests.bases import make_base
from tests.text import SENTENCES
from tests.training.runs import module_config
from training.data.packing import Special
from training.evaluation.measure import MeasureConfig, measure, unknown_rate
from training.evaluation.translations import read_translations
from training.modules.module import train_module
from training.scoring.pseudo_perplexity import Sentence, pseudo_likelihood
from training.scoring.reference_likelihood import reference_bits_per_byte
from training.scoring.score import open_base, read_sentence
from training.scoring.translation_score import Pieces


def test_the_rest_of_a_word_is_hidden_with_its_token(base):
    scored = open_base(str(base))
    special = Special.read_by(scored.encoder)
    sentence = read_sentence(SENTENCES["mn"][0], scored.encoder, by_word=True)

    def forward(ids, mask):
        return scored.slotted.model(input_ids=ids, attention_mask=mask).logits

    found = pseudo_likelihood(forward, scored.sparse, [sentence], special)
    nats = 0.0
    for place, truth in enumerate(sentence.ids):
        hidden = [
            special.mask
            if other >= place and sentence.words[other] == sentence.words[place]
            else token
            for other, token in enumerate(sentence.ids)
        ]
        row = torch.tensor([[special.start, *hidden, special.end]])
        with torch.no_grad():
            logits = scored.slotted.model(input_ids=row).logits[0, place + 1]
        nats -= float(logits.log_softmax(-1)[truth])
    assert found.nats == pytest.approx(nats, abs=1e-3)
    one_by_one = Sentence(sentence.text, sentence.ids)
    alone = pseudo_likelihood(forward, scored.sparse, [one_by_one], special)
    assert abs(alone.nats - nats) > 5e-3


def test_words_end_where_the_tokenizer_cuts_before_pieces(base):
    encoder: TextEncoder = open_base(str(base)).encoder
    sentence = read_sentence("Улаанбаатар хот.", encoder, by_word=True)
    assert sentence.words is not None
    pieces = [encoder.piece(each)[0] for each in sentence.ids]
    words = {number: "" for number in sentence.words}
    for number, piece in zip(sentence.words, pieces, strict=True):
        words[number] += piece
    assert list(words.values()) == ["Улаанбаатар", "хот", "."]
    assert len(pieces) > 3
    assert read_sentence("хот", encoder).words is None


def test_unknown_tokens_are_the_control_tokens_of_a_text(base):
    encoder = open_base(str(base)).encoder
    unknown = 3
    known = read_sentence(SENTENCES["mn"][0], encoder).ids[:3]
    assert unknown_rate([Sentence("x", [*known, unknown])], encoder) == 0.25
    assert unknown_rate([Sentence("x", known)], encoder) == 0


def config(folder, model, corpus, **changes):
    values = {"model": model, "corpus": corpus, "sentences": 4, "out": folder / "measured"}
    return MeasureConfig.model_validate(values | changes)


def values(found):
    return {(m.name, m.language): m.value for m in found.metrics}


def test_bases_modules_and_kept_bases_are_measured_alike(base, small_corpus, tmp_path):
    runs = {
        "module": module_config(tmp_path, base, "module", language="mn", corpus=small_corpus),
        "kept": module_config(
            tmp_path, base, "kept", language="mn", corpus=small_corpus, train="base", keep=True
        ),
        "dropped": module_config(
            tmp_path, base, "dropped", language="mn", corpus=small_corpus, train="base"
        ),
    }
    for run in runs.values():
        train_module(run)
    found = {
        name: values(measure(config(tmp_path, path, small_corpus, languages=["khk"])))
        for name, path in {
            "bare": base,
            "module": tmp_path / "module",
            "kept": tmp_path / "kept",
        }.items()
    }
    assert {name for name, _ in found["bare"]} == {
        "pppl",
        "pppl_word_l2r",
        "bits_per_byte",
        "bits_per_byte_word_l2r",
        "unknown_rate",
    }
    perplexities = {name: each["pppl", "mn"] for name, each in found.items()}
    assert perplexities["kept"] < perplexities["module"] < perplexities["bare"]
    assert found["bare"]["pppl_word_l2r", "mn"] != found["bare"]["pppl", "mn"]
    with pytest.raises(ConfigError, match=r"was not kept; train it with keep=true"):
        measure(config(tmp_path, tmp_path / "dropped", small_corpus, languages=["khk"]))
    with pytest.raises(ConfigError, match=r"holds neither a base nor a finished run"):
        measure(config(tmp_path, tmp_path / "nothing", small_corpus))


def test_the_worst_and_the_best_known_language(base, small_corpus, tmp_path):
    found = values(measure(config(tmp_path, base, small_corpus, languages=["khk", "eng", "kor"])))
    bits = {tag: value for (name, tag), value in found.items() if name == "bits_per_byte"}
    assert len(set(bits.values())) == 3
    assert found["worst_bits_per_byte", "all"] == max(bits.values())
    assert found["best_bits_per_byte", "all"] == min(bits.values())
    alone = values(measure(config(tmp_path, base, small_corpus, languages=["khk"])))
    assert not any(name.startswith(("worst", "best")) for name, _ in alone)


def test_translations_are_kept_beside_their_scores(small_corpus, tmp_path):
    make_base(tmp_path / "translator", "translator")
    settings = config(tmp_path, tmp_path / "translator", small_corpus, directions=["khk-eng"])
    found = values(measure(settings))
    assert found.keys() == {
        (f"{name} book", "mn-en")
        for name in ("chrf++", "bleu", "spbleu", "reference_bits_per_byte")
    }
    (kept,) = read_translations(tmp_path)
    assert (kept.direction, kept.origin) == ("mn-en", "book")
    assert len(kept.references) == len(kept.hypotheses) == 4
    assert any(kept.hypotheses)


def test_references_cost_what_the_models_own_loss_says(tmp_path):
    make_base(tmp_path / "translator", "translator")
    scored = open_base(str(tmp_path / "translator"))
    pairs = list(zip(SENTENCES["mn"], SENTENCES["en"], strict=True))
    nats = 0.0
    for source, target in pairs:
        read = scored.encoder.encode_sentence(source, "mn").token_ids
        written = torch.tensor([scored.encoder.encode_sentence(target, "en").token_ids.tolist()])
        start = torch.tensor([[scored.spec.decoder_start_id]])
        with torch.no_grad():
            loss = scored.slotted.model(
                input_ids=torch.tensor([read.tolist()]),
                decoder_input_ids=torch.cat([start, written[:, :-1]], 1),
                labels=written.masked_fill(torch.arange(written.shape[1]) == 0, -100),
            ).loss
        nats += float(loss) * (written.shape[1] - 1)
    size = sum(len(target.encode()) for _, target in pairs)
    found = reference_bits_per_byte(scored.slotted, scored.encoder, pairs, ("mn", "en"))
    assert found == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    turned = reference_bits_per_byte(
        scored.slotted,
        scored.encoder,
        list(zip(SENTENCES["mn"][::-1], SENTENCES["en"])),
        ("mn", "en"),
    )
    assert found != pytest.approx(turned, rel=1e-4), "the source counts"


def test_bleu_over_pieces_is_bleu_over_tokens_and_says_so(tmp_path):
    make_base(tmp_path / "translator", "translator")
    pieces = Pieces(tmp_path / "translator")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "translator")
    references = list(SENTENCES["en"])
    hypotheses = [text.replace("the", "a") for text in references]
    as_ids = [
        [
            " ".join(map(str, tokenizer(text, add_special_tokens=False)["input_ids"]))
            for text in each
        ]
        for each in (hypotheses, references)
    ]
    wanted = sacrebleu.BLEU(tokenize="none").corpus_score(as_ids[0], [as_ids[1]]).score
    found, signature = pieces.bleu(hypotheses, references)
    assert found == pytest.approx(wanted)
    assert abs(found - sacrebleu.corpus_bleu(hypotheses, [references]).score) > 1
    assert "tok:none" in signature
    assert "(not FLORES' spm)" in signature


def test_only_the_wanted_origins_are_translated(small_corpus, tmp_path):
    make_base(tmp_path / "translator", "translator")
    settings = config(
        tmp_path, tmp_path / "translator", small_corpus, directions=["khk-eng"], origins=["ui"]
    )
    assert values(measure(settings)).keys() == {("reference_bits_per_byte book", "mn-en")}
