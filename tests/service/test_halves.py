"""A translator of two halves, with two vocabularies, answers as Hugging Face's own ``generate``."""

import asyncio

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from export.graph import export_graphs
from langmod.errors import UnknownLanguage
from service.settings import Settings
from service.translator import TranslatorEngine
from service.translator_schemas import TranslateRequest
from tests.halves import make_halves
from tests.service.published import publish
from tests.text import SENTENCES

LONGEST = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "halves"
    make_halves(folder)
    export_graphs(folder, "fp32")
    return folder


@pytest.fixture(scope="module")
def engine(folder):
    engine = TranslatorEngine(folder, Settings(precision="fp32", threads=1), None)
    yield engine
    engine.close()


def ask(engine, source, target, **options):
    request = TranslateRequest(
        texts=list(SENTENCES[source]),
        source=source,
        target=target,
        max_length=LONGEST,
        **options,
    )
    return asyncio.run(engine.translate(request))


@pytest.mark.parametrize("beams", [1, 3])
def test_translations_are_hugging_faces_own(folder, engine, beams):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = ask(engine, "mn", "ko", beams=beams)
    expected = []
    for text in SENTENCES["mn"]:
        read = tokenizer(text, return_tensors="pt")
        out = model.generate(
            input_ids=read["input_ids"],
            attention_mask=read["attention_mask"],
            forced_bos_token_id=engine.base.language_tokens["ko"],
            max_new_tokens=LONGEST,
            num_beams=beams,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
        )
        expected.append(engine.encoder.decode(out[0].tolist()))
    assert [each["translation"] for each in found] == expected
    assert len(set(expected)) > 1


def test_a_module_on_both_widths_changes_its_rows(folder, engine):
    before = ask(engine, "mn", "en")
    publish(folder, "mn-en", "language", "bottleneck", scale=0.5, source="mn", target="en")
    after = ask(engine, "mn", "en", modules=["mn-en"])
    pairs = zip(before, after, strict=True)
    assert any(one["translation"] != other["translation"] for one, other in pairs)


def test_what_it_does_not_write_is_no_target(engine):
    with pytest.raises(UnknownLanguage, match="fr"):
        ask(engine, "mn", "fr")
