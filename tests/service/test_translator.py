"""The translator's engine: directions, modules, faults, synthetic pairs."""

import asyncio
import shutil
import unicodedata

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from langmod.errors import BadRequest, LangmodError, UnknownLanguage
from langmod.langid import LanguageIdentifier, ngram_buckets
from langmod.specs import ROW_TOLERANCE
from service.back_translation import Pair, PairFilter
from service.bank import Stack
from service.engine import Spoken
from service.passages import Leg
from service.settings import Settings
from service.text.documents import Wishes
from service.text.html import pieces
from service.translator import TranslatorEngine
from service.translator_schemas import BackTranslateRequest, TranslateRequest
from tests.service.published import publish
from tests.text import SENTENCES

KO, EN, MN = (SENTENCES[tag][0] for tag in ("ko", "en", "mn"))


@pytest.fixture(scope="module")
def identifier():
    """Knows the languages of the test's sentences by their letters."""
    bits = 12
    weights = np.zeros((2**bits, len(SENTENCES)), np.float32)
    for column, texts in enumerate(SENTENCES.values()):
        buckets = np.concatenate([ngram_buckets(text, bits) for text in texts])
        np.add.at(weights[:, column], buckets, 50 / len(buckets))
    return LanguageIdentifier(tuple(SENTENCES), weights, np.zeros(len(SENTENCES)))


@pytest.fixture
def engine(translator_folder, identifier):
    engine = TranslatorEngine(translator_folder, Settings(precision="fp32", threads=1), identifier)
    yield engine
    engine.close()


def translate(engine, **body):
    return asyncio.run(engine.translate(TranslateRequest(**body)))


def back_translate(engine, **body):
    return asyncio.run(engine.back_translate(BackTranslateRequest(**body)))


def names(answer):
    return [key.partition("@")[0] for key in answer["modules"]]


def test_translations_come_best_first_with_their_scores(engine):
    (answer,) = translate(engine, texts=[KO], source="kor", target="mn", beams=4, n_best=3)
    assert (answer["source"], answer["source_probability"], answer["target"]) == ("ko", None, "mn")
    assert answer["source_tokens"] == len(engine.encoder.encode_sentence(KO, "ko"))
    scores = [each["score"] for each in answer["translations"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert answer["translation"] == answer["translations"][0]["text"]
    assert answer["modules"] == []
    assert "\0" not in answer["translation"]
    assert "__" not in answer["translation"]


def test_each_direction_runs_through_its_own_module(engine, translator_folder):
    (there,) = translate(engine, texts=[KO], source="ko", target="en")
    (back,) = translate(engine, texts=[EN], source="en", target="ko")
    assert (names(there), names(back)) == (["ko-en"], ["en-ko"])
    shutil.rmtree(translator_folder / "modules" / "ko-en")
    (bare,) = translate(engine, texts=[KO], source="ko", target="en")
    assert bare["modules"] == []
    assert bare["translations"] != there["translations"]


def test_a_source_left_out_is_detected(engine):
    texts = [SENTENCES[tag][1] for tag in SENTENCES]
    answers = translate(engine, texts=texts, target="mn")
    assert [getattr(each, "code", None) for each in answers] == [
        *(None, "unsure_language", None, None)
    ]
    assert "detected Mongolian ('mn') with probability" in answers[1].message
    found = [answers[place] for place in (0, 2, 3)]
    assert [each["source"] for each in found] == ["en", "ko", "kk"]
    assert all(0.5 < each["source_probability"] <= 1 for each in found)
    given = translate(engine, texts=texts[:1], source="en", target="mn")
    assert given[0]["translations"] == found[0]["translations"]


def test_a_long_text_is_answered_whole_and_so_are_its_neighbours(engine):
    alone = translate(engine, texts=[KO], source="ko", target="en")
    texts = [KO, f"{KO} " * 40, "", KO]
    first, long, empty, last = translate(engine, texts=texts, source="ko", target="en")
    assert empty.code == "bad_request"
    assert first == last == alone[0]
    assert long["sentences"] == 40
    assert long["translation"] == f"{first['translation']} " * 40
    assert long["source_tokens"] == 40 * first["source_tokens"]


def test_a_sentence_longer_than_the_base_reads_is_translated_in_parts(engine):
    sentence = KO.rstrip(".") + " "
    (answer,) = translate(engine, texts=[sentence * 30], source="ko", target="en")
    assert answer["sentences"] == 1
    assert answer["source_tokens"] > 2 * engine.base.max_tokens


def test_lines_and_sentences_stay_in_their_places(engine):
    one, two, three = (
        translate(engine, texts=[text], source="ko", target="en")[0]["translation"]
        for text in SENTENCES["ko"][:3]
    )
    text = "{}  {}\n\n  - {}\r\n".format(*SENTENCES["ko"][:3])
    (answer,) = translate(engine, texts=[text], source="ko", target="en")
    assert answer["translation"] == f"{one}  {two}\n\n  - {three}\r\n"
    assert answer["sentences"] == 3


def test_both_forms_of_unicode_are_answered_alike(engine):
    forms = [unicodedata.normalize(form, KO) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    answers = translate(engine, texts=[*forms, f"\ufeff{KO}\u200b"], source="ko", target="en")
    assert answers[0] == answers[1] == answers[2]
    detected = translate(engine, texts=forms, target="en")
    assert detected[0] == detected[1]
    pairs = back_translate(engine, texts=forms, language="ko", mode="sample", n=2)
    assert pairs[0]["pairs"][0]["source"] == pairs[1]["pairs"][0]["source"]


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "\u200b \n\u00ad"])
def test_what_nobody_sees_is_empty(engine, text):
    (fault,) = translate(engine, texts=[text], source="ko", target="en")
    assert fault.message.startswith("the text is empty")


@pytest.mark.parametrize(
    ("source", "via"),
    [
        ("Open {name} with %1$s at https://a.mn/b on 11:29", ["{name}", "%1$s", "https://a.mn/b"]),
        ("Press <b>Save</b> or <i>Close</i> now", ["<b>", "</b>", "<i>", "</i>"]),
        ("Ask Bat about 😀", ["Bat", "😀"]),
    ],
)
def test_what_must_survive_does_in_a_translator_of_random_weights(engine, source, via):
    (answer,) = translate(engine, texts=[source], source="en", target="ko", keep=["Bat"])
    assert all(answer["translation"].count(each) == 1 for each in via)


def test_html_keeps_its_markup(engine):
    page = "<div class=x><p title='A book'>The book &amp; <b>the train</b>.</p><script>a<b</script>"
    body = {"source": "en", "target": "ko", "format": "html"}
    (answer,) = translate(engine, texts=[page], **body)
    tags = [piece.tag for piece in pieces(answer["translation"])]
    assert tags == [piece.tag for piece in pieces(page)]
    assert "<script>a<b</script>" in answer["translation"]
    assert "A book" not in answer["translation"]


def test_the_glossary_has_its_word(engine):
    body = {"source": "en", "target": "ko", "glossary": {"train": "열차편"}}
    (answer,) = translate(engine, texts=["The train to the coast leaves at seven."], **body)
    assert "열차편" in answer["translation"]


def test_a_direction_without_a_module_goes_through_the_pivot(engine, translator_folder):
    publish(translator_folder, "en-mn", "language", "lora", scale=0.2, source="en", target="mn")
    (first,) = translate(engine, texts=[KO], source="ko", target="en")
    (second,) = translate(engine, texts=[first["translation"]], source="en", target="mn")
    (through,) = translate(engine, texts=[KO], source="ko", target="mn")
    assert through["via"] == "en"
    assert through["translation"] == second["translation"]
    assert through["source_tokens"] == first["source_tokens"]
    assert names(through) == ["ko-en", "en-mn"]
    assert (through["fallback"], first["via"], first["fallback"]) == (None, None, None)


@pytest.mark.parametrize("pivot", ["", "kk"])
def test_a_direction_that_nothing_serves_says_so(engine, pivot):
    (bare,) = translate(engine, texts=[KO], source="ko", target="mn", pivot=pivot)
    assert (bare["via"], bare["fallback"], bare["modules"]) == (None, True, [])


def test_a_pivot_that_is_no_language_is_refused(engine):
    with pytest.raises(UnknownLanguage, match="no language 'xx yy'"):
        translate(engine, texts=[KO], source="ko", target="mn", pivot="xx yy")


def test_repetitions_are_not_written_where_a_request_says_so(engine):
    def runs(**body):
        (answer,) = translate(engine, texts=[KO], source="ko", target="mn", max_length=60, **body)
        return answer["translation"]

    plain, fewer = runs(), runs(no_repeat_ngram_size=2)
    assert plain != fewer
    assert runs(no_repeat_ngram_size=0, repetition_penalty=1.0) == plain
    assert len({plain, fewer, runs(repetition_penalty=3.0)}) == 3


def test_a_translation_that_reaches_its_limit_says_so(engine):
    (short,) = translate(engine, texts=[KO], source="ko", target="mn", max_length=3)
    assert short["translations"][0]["cut"]
    assert short["translations"][0]["tokens"] == 3


@pytest.mark.parametrize(("ratio", "most"), [(None, 2 * 19 + 10), (0.5, 20), (20, 64)])
def test_the_usual_limit_is_relative_to_the_source(engine, ratio, most):
    leg = Leg(Spoken("ko"), "mn", length_ratio=ratio)
    ready = engine._passages.begin(KO, leg, Stack(), lambda passage: {})
    assert len(ready.row.sentence.token_ids) == 19
    assert ready.row.sentence.plan.max_length == most


def test_a_module_that_breaks_its_numbers_harms_only_its_own_rows(engine, translator_folder):
    (quiet,) = translate(engine, texts=[EN], source="en", target="ko")
    publish(
        translator_folder, "mad", "language", "bottleneck", scale=1e20, source="mn", target="ko"
    )

    async def together():
        asked = [
            TranslateRequest(texts=[text], source=tag, target="ko", beams=2)
            for tag, text in [("mn", MN), ("en", EN)] * 3
        ]
        return await asyncio.gather(*(engine.translate(each) for each in asked))

    for (mad,), (sane,) in zip(*[iter(asyncio.run(together()))] * 2, strict=True):
        assert isinstance(mad, LangmodError)
        assert "not finite" in mad.message
        assert sane["modules"] == quiet["modules"]
        assert np.isfinite(sane["translations"][0]["score"])


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"target": "kx"}, UnknownLanguage, "no language 'kx'; near names: ko, kk"),
        ({"target": "not a tag"}, UnknownLanguage, "no language 'not a tag'"),
        ({"source": "xx", "target": "en"}, UnknownLanguage, "no language 'xx'"),
        ({"target": "kor"}, BadRequest, "source and target are both 'ko'"),
        ({"target": "en", "beams": 2, "n_best": 3}, BadRequest, "n_best: got 3, at most 2; ask"),
        ({"target": "en", "max_length": 65}, BadRequest, "max_length: got 65, at most 64"),
        ({"target": "mn", "modules": ["ko-en"]}, BadRequest, "'ko-en' serves ko→en, not ko→mn"),
    ],
)
def test_what_cannot_be_translated_is_refused_as_a_whole(engine, body, error, words):
    with pytest.raises(error, match=words):
        translate(engine, **{"texts": [KO], "source": "ko"} | body)


def test_requests_of_many_kinds_share_batches_and_change_nothing(engine, monkeypatch):
    requests = [
        TranslateRequest(
            texts=list(SENTENCES[source][:2]), source=source, target=target, beams=beams
        )
        for source in SENTENCES
        for target in SENTENCES
        for beams in (1, 3)
        if source != target
    ]
    alone = [asyncio.run(engine.translate(request)) for request in requests]
    sizes, run = [], engine._decoder.decode

    def decode(sentences, pinned):
        sizes.append(len(sentences))
        return run(sentences, pinned)

    monkeypatch.setattr(engine._decoder, "decode", decode)

    async def together():
        return await asyncio.gather(*(engine.translate(request) for request in requests))

    assert len({names(answers[0])[0] for answers in alone if names(answers[0])}) == 2
    for before, after in zip(alone, asyncio.run(together()), strict=True):
        for one, other in zip(before, after, strict=True):
            assert one["translation"] == other["translation"]
            assert one["modules"] == other["modules"]
            scores = [each["translations"][0]["score"] for each in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=ROW_TOLERANCE)
    # Sentences whose translations grow too long are translated again in halves.
    assert sum(sizes) >= 2 * len(requests)
    assert max(sizes) > 8


def test_a_pair_is_two_translations_and_their_chrf(engine):
    (answer,) = back_translate(engine, texts=[KO], language="kor", pivot="en", n=3, beams=4)
    assert (answer["language"], answer["pivot"]) == ("ko", "en")
    assert names(answer) == ["ko-en", "en-ko"]
    # A synthetic pair is as the model gives it; a limit of one's own keeps /translate from halving.
    longest = 2 * len(engine.encoder.encode_sentence(KO, "ko")) + 10
    asked = {"source": "ko", "target": "en", "max_length": longest}
    there = translate(engine, texts=[KO], beams=4, n_best=3, **asked)
    assert len(answer["pairs"]) == 3
    for pair, made in zip(answer["pairs"], there[0]["translations"], strict=True):
        assert (pair["source"], pair["target"]) == (made["text"], KO)
        assert pair["score"] == pytest.approx(made["score"], abs=ROW_TOLERANCE)
        home = Leg(Spoken("en"), "ko", 4, wishes=Wishes("en", marks=False))
        (back,) = asyncio.run(engine._run("translate", [made["text"]], [home], ()))
        assert pair["round_trip"] == back["translation"]
        expected = CHRF().sentence_score(back["translation"], [KO]).score
        assert pair["chrf"] == pytest.approx(expected, abs=0.01)
        assert pair["keep"] == (not pair["reasons"])
    assert answer["signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")


def test_samples_depend_on_seed_and_text_alone(engine):
    def sources(texts, place=0, **body):
        settings = {"language": "ko", "mode": "sample", "n": 3, "top_k": 30, "round_trip": False}
        answer = back_translate(engine, texts=texts, **settings | body)[place]
        return [pair["source"] for pair in answer["pairs"]]

    first = sources([KO])
    assert first == sources([KO]) == sources([*SENTENCES["ko"][::-1]], place=5)
    assert len(set(first)) > 1
    assert first != sources([KO], seed=1)
    assert sources([KO], n=2) == first[:2]
    assert sources([KO], top_k=1) == sources([KO], n=1, mode="greedy") * 3
    assert sources([KO], temperature=1e-6) == sources([KO], top_k=1)


def test_round_trips_can_be_left_out(engine):
    (answer,) = back_translate(engine, texts=[KO], language="ko", round_trip=False)
    (pair,) = answer["pairs"]
    assert pair["round_trip"] is pair["chrf"] is answer["signature"] is None
    assert not {"no_round_trip", "low_chrf"} & set(pair["reasons"])
    assert names(answer) == ["ko-en"]


def test_faults_of_back_translation_stand_in_their_places(engine):
    texts = [KO, "\u200b", EN]
    answered, empty, same = back_translate(engine, texts=texts, pivot="en")
    assert answered["language"] == "ko"
    assert answered["pairs"]
    assert isinstance(empty, LangmodError)
    assert "detected English ('en') with probability 1.00: this cannot" in same.message


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"mode": "greedy", "n": 2}, BadRequest, "n: got 2, at most 1; greedy search finds one"),
        ({"n": 5}, BadRequest, "n: got 5, at most 4; ask for more beams or mode sample"),
        ({"pivot": "ko"}, BadRequest, "both 'ko'"),
        ({"pivot": "xx"}, UnknownLanguage, "no language 'xx'"),
        ({"pivot": "mn", "modules": ["ko-en"]}, BadRequest, "serves ko→en, not ko→mn, mn→ko"),
    ],
)
def test_what_cannot_be_back_translated_is_refused_as_a_whole(engine, body, error, words):
    with pytest.raises(error, match=words):
        back_translate(engine, **{"texts": [KO], "language": "ko"} | body)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"round_trip": "아주 다른 말"}, ["low_chrf"]),
        ({"round_trip": None}, ["no_round_trip"]),
        ({"tokens": (20, 7)}, ["length_ratio"]),
        ({"tokens": (7, 20)}, ["length_ratio"]),
        ({"source": " " + KO}, ["copy", "source_language"]),
        ({"source": MN}, ["source_language"]),
        ({"source": "", "round_trip": None}, ["empty", "no_round_trip"]),
        ({"target": EN, "round_trip": EN, "source": EN.upper()}, ["copy", "target_language"]),
        ({"pivot": "fr"}, []),
    ],
)
def test_every_reason_not_to_keep_a_pair(identifier, changes, reasons):
    good = {"target": KO, "language": "ko", "source": EN, "pivot": "en", "score": -1.0}
    pair = Pair(**{**good, "tokens": (10, 9), "round_trip": KO} | changes)
    request = BackTranslateRequest(texts=[KO], language="ko")
    verdict = PairFilter(request, identifier).judge(pair)
    assert verdict["reasons"] == reasons
    assert verdict["keep"] == (not reasons)
    assert (verdict["chrf"] == 100) == (pair.round_trip == pair.target)
