"""Served answers against PEFT's and `adapters`' own: heads of many modules at once, and searches.

Neither library mixes all kinds of modules in a batch: its answer to one row is the reference.
"""

import asyncio
import itertools
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from adaptation.architectures import load_base
from adaptation.methods import METHODS
from export.checkpoint import ModuleDescription
from export.module import export_module
from service.encoder import EncoderEngine
from service.schemas import ClassifyRequest, TagRequest
from service.settings import Settings
from service.translator import TranslatorEngine
from service.translator_schemas import TranslateRequest
from tests.adaptation.models import module_for
from tests.adaptation.references import adapters_model
from tests.foreign import LABELS, foreign, peft_translator, without_module
from tests.text import SENTENCES

TOLERANCE = 1e-5
TEXTS = [text for tag in SENTENCES for text in SENTENCES[tag][:2]]


@pytest.fixture(scope="module")
def heads(tiny_encoder, tmp_path_factory):
    """A copy of the tiny encoder with every foreign checkpoint published, and its library model."""
    place = tmp_path_factory.mktemp("heads")
    folder = place / tiny_encoder.name
    shutil.copytree(tiny_encoder, folder)
    models = {}
    for seed, (name, each) in enumerate(foreign().items()):
        models[name] = each.save(folder, place / name, seed)
        about = {} if each.names_labels else {"labels": LABELS[each.kind]}
        described = ModuleDescription(name=name, task=name, languages=("*",), **about)
        export_module(place / name, folder, described)
    return folder, models


def library_logits(model, tokenizer, text):
    """``[C]`` or ``[T, C]`` of one row alone."""
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits[0].numpy()


def test_heads_of_both_libraries_answer_in_one_batch_as_they_do_alone(heads):
    folder, models = heads
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = {
        (name, text): library_logits(model, tokenizer, text)
        for name, model in models.items()
        for text in TEXTS
    }
    for kind, labels in LABELS.items():
        alike = [name for name, each in foreign().items() if each.kind == kind]
        for a, b in itertools.pairwise(alike):
            assert np.abs(expected[a, TEXTS[0]] - expected[b, TEXTS[0]]).max() > 0.1, (a, b)
            bare = library_logits(without_module(models[a]), tokenizer, TEXTS[0])
            assert np.abs(expected[a, TEXTS[0]] - bare).max() > 0.1, a
            assert bare.shape[-1] == len(labels)
    engine = EncoderEngine(folder, Settings(precision="fp32", threads=1), None)
    ready = [prepared(engine, name, text) for name, text in expected]
    batches, execute = [], engine.execute
    engine.execute = lambda rows, pinned: batches.append(len(rows)) or execute(rows, pinned)
    outputs = engine.run([each.row for each in ready])
    engine.close()
    assert batches == [len(expected)]
    for (key, logits), each, output in zip(expected.items(), ready, outputs, strict=True):
        np.testing.assert_allclose(output["logits"], logits, atol=TOLERANCE, rtol=TOLERANCE)
        check_answer(each.finish([output]), logits, key, tokenizer)


def prepared(engine, name, text):
    kind = foreign()[name].kind
    request = TagRequest if kind == "tag" else ClassifyRequest
    asked = request(texts=[text], language="en", task=name)
    return engine._plan(kind, asked)(0, text)


def check_answer(answer, logits, key, tokenizer):
    """What the caller reads follows from the library's numbers too."""
    name, text = key
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    assert [each.partition("@")[0] for each in answer["modules"]] == [name]
    if logits.ndim == 1:
        scores = {each["label"]: each["score"] for each in answer["labels"]}
        for label, score in zip(LABELS["classify"], odds, strict=True):
            assert scores[label] == pytest.approx(score, abs=TOLERANCE)
    else:
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        # A mark of a word's start may be a token by itself, whose span has no text to show.
        shown = [at for at, (start, end) in enumerate(offsets) if text[start:end].strip()]
        best = {LABELS["tag"][place].split("-")[-1] for place in odds[shown].argmax(-1)}
        assert {each["label"] for each in answer["spans"]} == best - {"O"}
        assert all(text[each["start"] : each["end"]] == each["text"] for each in answer["spans"])


DIRECTIONS = {"lora": ("ko", "en"), "ia3": ("en", "ko"), "bottleneck": ("mn", "kk")}
LONGEST = 24


@pytest.fixture(scope="module")
def translators(tiny_translator, tmp_path_factory):
    """A copy of the tiny translator with a direction of each method, and the libraries' models."""
    from peft import IA3Config, LoraConfig

    place = tmp_path_factory.mktemp("directions")
    folder = place / tiny_translator.name
    shutil.copytree(tiny_translator, folder)
    lora = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"])
    ia3 = IA3Config(target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"])
    models = {
        "lora": peft_translator(folder, place / "lora", lora, 1),
        "ia3": peft_translator(folder, place / "ia3", ia3, 2, scale=0.5),
        "bottleneck": adapters_translator(folder, place / "bottleneck", 3),
    }
    for name, (source, target) in DIRECTIONS.items():
        export_module(
            place / name, folder, ModuleDescription(name=name, source=source, target=target)
        )
    return folder, models


def adapters_translator(base, out, seed):
    method = METHODS["bottleneck"]
    config = method.Config(reduction_factor=4)
    tensors = module_for(load_base(base), method, config, seed)
    method.write(out, config, tensors, load_base(base))
    return adapters_model(load_base(base), out)


def generated(model, engine, text, direction, beams):
    """The library's best translation of one text and its score."""
    source, target = direction
    ids = torch.tensor(engine.encoder.encode_sentence(text, source).token_ids)[None]
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        forced_bos_token_id=engine.base.language_tokens[target],
        max_new_tokens=LONGEST,
        num_beams=beams,
        do_sample=False,
        early_stopping=False,
        length_penalty=1.0,
    )
    return engine.encoder.decode(out[0].tolist())


@pytest.mark.parametrize("beams", [1, 4])
def test_translations_of_mixed_directions_are_the_libraries_own(translators, beams):
    folder, models = translators
    engine = TranslatorEngine(folder, Settings(precision="fp32", threads=1), None)
    bare = load_base(folder).model.eval()
    asked = {
        (name, text): generated(models[name], engine, text, direction, beams)
        for name, direction in DIRECTIONS.items()
        for text in SENTENCES[direction[0]]
    }
    for name, direction in DIRECTIONS.items():
        texts = SENTENCES[direction[0]]
        plain = [generated(bare, engine, text, direction, beams) for text in texts]
        assert plain != [asked[name, text] for text in texts], f"{name} must change translations"
    other = [
        generated(models["ia3"], engine, text, ("ko", "en"), beams) for text in SENTENCES["ko"]
    ]
    assert other != [asked["lora", text] for text in SENTENCES["ko"]]

    async def together():
        return await asyncio.gather(
            *(
                engine.translate(
                    TranslateRequest(
                        texts=[text], source=DIRECTIONS[name][0], target=DIRECTIONS[name][1],
                        beams=beams, max_length=LONGEST,
                    )
                )
                for name, text in asked
            )
        )  # fmt: skip

    sizes, decode = [], engine._decoder.decode

    def spy(sentences, pinned):
        sizes.append(len(sentences))
        return decode(sentences, pinned)

    engine._decoder.decode = spy
    answers = asyncio.run(together())
    engine.close()
    assert max(sizes) > len(SENTENCES["ko"]), "directions share batches"
    for ((name, _), expected), (answer,) in zip(asked.items(), answers, strict=True):
        assert [key.partition("@")[0] for key in answer["modules"]] == [name]
        assert answer["translation"] == expected
