"""Soft prompts in the engines: every mix against torch and against rows alone, limits, imports."""

import itertools

import numpy as np
import onnxruntime as ort
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from adaptation.architectures import load_base
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from export.checkpoint import ModuleDescription
from export.module import export_module
from langmod.errors import BadRequest, ModuleMismatch
from langmod.specs import FP32_TOLERANCE, PROMPT, ROW_TOLERANCE
from langmod.tasks import TASKS, HeadTask
from service.encoder import EncoderEngine
from service.rows import batch_shape, words_of
from service.schemas import ClassifyRequest, EmbedRequest, FillMaskRequest, TagRequest
from service.settings import Settings
from service.translator import TranslatorEngine
from service.translator_schemas import TranslateRequest
from tests.service.published import ENTITIES, MOODS, TOPICS, publish
from tests.service.test_encoder import numbers, with_mask, words
from tests.text import SENTENCES

LANGUAGES = (None, "mn-bottleneck", "ko-lora", "mn-prompt", "ko-prompt")
CLASSIFIERS = ("topic-bottleneck", "topic-prompt", "mood-prompt")
TAGGERS = ("ner-lora", "ner-prompt")
ASKED = [
    *itertools.product(["classify"], LANGUAGES, CLASSIFIERS),
    *itertools.product(["tag"], LANGUAGES, TAGGERS),
    *itertools.product(["fill_mask", "embed"], LANGUAGES, [None]),
]
"""Task {adapter, prompt} on language {none, adapter, prompt}, and rows without a task."""


@pytest.fixture
def folder(encoder_folder):
    """The fleet of modules with prompts of two lengths for each role."""
    every = {"languages": ("*",)}
    publish(encoder_folder, "mn-prompt", "language", "soft_prompt", rank=5, languages=("mn",))
    publish(encoder_folder, "ko-prompt", "language", "soft_prompt", rank=11, languages=("ko",))
    topic = {"task": "topic", "kind": "classify", "labels": TOPICS, **every}
    publish(encoder_folder, "topic-prompt", "task", "soft_prompt+classify", rank=7, **topic)
    mood = {"task": "mood", "kind": "classify", "labels": MOODS, "pooling": "mean", **every}
    publish(encoder_folder, "mood-prompt", "task", "soft_prompt+classify", rank=3, **mood)
    ner = {"task": "ner", "kind": "tag", "labels": ENTITIES, **every}
    publish(encoder_folder, "ner-prompt", "task", "soft_prompt+tag", rank=4, **ner)
    return encoder_folder


@pytest.fixture
def engine(folder, precision):
    engine = EncoderEngine(folder, Settings(precision=precision, threads=1), None)
    yield engine
    engine.close()


fp32 = pytest.mark.parametrize("precision", ["fp32"], indirect=True)


def request_of(kind, language, task, text):
    about = {"language": "en", "modules": [name for name in (language, task) if name]}
    if kind == "fill_mask":
        return FillMaskRequest(texts=[with_mask(text)], top_k=4, **about)
    if kind == "embed":
        return EmbedRequest(texts=[text], **about)
    return (TagRequest if kind == "tag" else ClassifyRequest)(texts=[text], **about)


def prepared(engine, kind, language, task, text):
    request = request_of(kind, language, task, text)
    return engine._plan(kind, request)(0, request.texts[0])


def every_row(engine):
    """Rows of every mix over texts of many lengths."""
    texts = itertools.cycle(text for lines in SENTENCES.values() for text in lines)
    return [prepared(engine, *asked, next(texts)) for asked in ASKED]


def answers(engine, ready):
    outputs = engine.run([each.row for each in ready])
    return [each.finish([output]) for each, output in zip(ready, outputs, strict=True)]


def test_every_mix_in_one_batch_answers_as_each_row_alone(engine, monkeypatch):
    ready, sizes, execute = every_row(engine), [], engine.execute

    def spy(rows, pinned):
        sizes.append(len(rows))
        return execute(rows, pinned)

    alone = [answers(engine, [each])[0] for each in ready]
    monkeypatch.setattr(engine, "execute", spy)
    together = answers(engine, ready)
    assert sizes == [len(ASKED)]
    for asked, got, expected in zip(ASKED, together, alone, strict=True):
        assert got["modules"] == expected["modules"], asked
        assert words(got) == words(expected), asked
        np.testing.assert_allclose(numbers(got), numbers(expected), atol=ROW_TOLERANCE, rtol=0)


def in_torch(slotted, row):
    """What the row's graph gives, by the code that trains: one row, no padding, no service."""
    roles = {"language": row.stack.language, "task": row.stack.task}
    named = {
        f"{role}.{name}": torch.from_numpy(tensor)
        for role, module in roles.items() if module
        for name, tensor in module.tensors.items()
    }  # fmt: skip
    ids = torch.from_numpy(row.token_ids)[None]
    with torch.no_grad(), slotted.using(FixedSource(named)):
        hidden = slotted.architecture.backbone(input_ids=ids).last_hidden_state  # [1, T, D]
        task = TASKS[row.kind]
        if not isinstance(task, HeadTask):
            return hidden[0].numpy()
        mean = row.stack.task.manifest.pooling == "mean"
        pool = torch.full((1, len(row.token_ids)), 1 / len(row.token_ids))
        first = torch.zeros_like(pool)
        first[0, 0] = 1
        banks = [bank.name for bank in task.head_banks(hidden.shape[-1])]
        head = {name.rsplit(".", 1)[1]: named[name][None] for name in banks}
        return task.head(hidden, pool if mean else first, head)[0].numpy()


@fp32
def test_every_mix_answers_as_in_torch(engine, folder):
    slotted = SlottedBase(load_base(folder)).eval()
    rows = [each.row for each in every_row(engine) if each.row.kind != "fill_mask"]
    outputs = engine.run(rows)
    references = [in_torch(slotted, row) for row in rows]
    for row, output, reference in zip(rows, outputs, references, strict=True):
        found = output["logits" if "logits" in output else "hidden"]
        # Relative to the row: one of the random LoRAs on a random LoRA makes much of a last bit,
        # and which bit that is depends on the processor.
        tolerance = 2 * FP32_TOLERANCE * max(1, np.abs(reference).max())
        np.testing.assert_allclose(found, reference, atol=tolerance, rtol=0)
    vectors = [each for row, each in zip(rows, references, strict=True) if row.kind == "embed"]
    assert len(vectors) == len(LANGUAGES)


@fp32
def test_prompts_change_every_kind_of_answer(engine):
    text = SENTENCES["en"][0]
    for kind, task in [("fill_mask", None), ("embed", None), ("tag", "ner-prompt"),
                       ("classify", "topic-prompt")]:  # fmt: skip
        ready = [prepared(engine, kind, language, task, text) for language in LANGUAGES]
        found = engine.run([each.row for each in ready])
        name = "scores" if kind == "fill_mask" else "hidden" if kind == "embed" else "logits"
        for one, other in itertools.combinations([each[name] for each in found], 2):
            assert np.abs(one - other).max() > 1e-3, (kind, task)


@fp32
def test_only_rows_with_a_prompt_leave_the_device(engine):
    ready = [prepared(engine, "embed", name, None, "The train") for name in LANGUAGES]
    with_prompt = [each.row for each in ready if len(each.row.prompt)]
    without = [each.row for each in ready if not len(each.row.prompt)]
    assert [len(row.prompt) for row in with_prompt] == [5, 11]
    for rows, kind in ((without, ort.OrtValue), (with_prompt, np.ndarray)):
        shape = batch_shape(rows, engine.base)
        assert isinstance(words_of(rows, shape, engine.graphs), kind)


@fp32
async def test_a_text_and_its_prompts_fit_together_or_it_is_cut(engine):
    limit = engine.base.max_tokens
    whole = engine.encoder.encode("a " * limit, truncate=True)
    longest = ("a " * limit)[: whole.offsets[limit - 1 - 11 - 1, 1]]
    assert len(engine.encoder.encode(longest)) == limit - 11
    request = EmbedRequest(
        texts=[longest, longest + "a a", "a"], language="en", modules=["ko-prompt"]
    )
    fits, long, short = await engine.ask("embed", request)
    assert len(fits["vector"]) == len(short["vector"]) == engine.base.width
    assert (long.code, long.details["limit"]) == ("text_too_long", limit - 11)
    assert f"reads at most {limit}, of which soft prompts take 11: send" in long.message
    bare = EmbedRequest(texts=[longest + "a a"], language="en")
    assert "vector" in (await engine.ask("embed", bare))[0]


@fp32
async def test_prompts_that_leave_no_room_are_refused(engine, folder):
    limit = engine.base.max_tokens
    for name, role, method, rank in [("l", "language", "soft_prompt", limit - 3),
                                     ("t", "task", "soft_prompt+classify", limit - 3),
                                     ("wide", "language", "soft_prompt", limit - 2)]:  # fmt: skip
        about = {"task": "x", "kind": "classify", "labels": MOODS} if role == "task" else {}
        publish(folder, name, role, method, rank=rank, languages=("*",), **about)
    request = ClassifyRequest(texts=["a"], language="en", modules=["l", "t"])
    (both,) = await engine.ask("classify", request)
    assert isinstance(both, BadRequest)
    assert "leave no room for text" in both.message
    alone = ClassifyRequest(texts=["a"], language="en", modules=["t"])
    assert "label" in (await engine.ask("classify", alone))[0]
    with pytest.raises(ModuleMismatch, match=f"has {limit - 2} vectors, which leave no room"):
        await engine.ask("embed", EmbedRequest(texts=["a"], language="en", modules=["wide"]))


@fp32
async def test_a_classifier_of_peft_is_served_as_it_was_trained(engine, folder, tmp_path):
    """Published while the service runs; its head reads the first vector of its prompt."""
    from peft import PromptTuningConfig, get_peft_model

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).float()
    theirs = get_peft_model(model, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=6))
    for name, parameter in theirs.eval().named_parameters():
        if "classifier" in name or "prompt" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    theirs.save_pretrained(tmp_path / "theirs")
    described = ModuleDescription(
        name="intent", role="task", task="intent", labels=("a", "b", "c"), languages=("*",)
    )
    export_module(tmp_path / "theirs", folder, described)
    texts = list(SENTENCES["en"])
    logits = []
    for text in texts:
        ids = torch.from_numpy(engine.encoder.encode(text).token_ids)[None]
        with torch.no_grad():
            logits.append(theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0])
    assert torch.stack(logits).std(0).min() > 1e-3
    request = ClassifyRequest(texts=texts, language="en", task="intent")
    for answer, expected in zip(await engine.ask("classify", request), logits, strict=True):
        got = [each["score"] for each in sorted(answer["labels"], key=lambda each: each["label"])]
        np.testing.assert_allclose(got, expected.softmax(-1), atol=FP32_TOLERANCE, rtol=0)
        assert answer["modules"][0].startswith("intent@")


@fp32
def test_a_head_that_reads_its_prompt_reads_its_own(engine, folder):
    own = {"task": "x", "kind": "classify", "labels": MOODS, "pooling": "prompt"}
    publish(folder, "x", "task", "soft_prompt+classify", rank=6, languages=("*",), **own)
    alone, stacked = (
        prepared(engine, "classify", language, "x", "The train").row
        for language in (None, "mn-prompt")
    )
    assert (alone.pooled, stacked.pooled) == (slice(0, 1), slice(5, 6))
    assert (alone.length, stacked.length) == (6 + len(alone.encoded), 11 + len(stacked.encoded))


@fp32
async def test_a_head_cannot_read_a_prompt_that_is_not_there(engine, folder):
    odd = {"task": "odd", "kind": "classify", "labels": MOODS, "pooling": "prompt"}
    publish(folder, "odd", "task", "lora+classify", languages=("*",), **odd)
    request = ClassifyRequest(texts=["a"], language="en", modules=["odd"])
    with pytest.raises(ModuleMismatch, match=r"'prompt', and there is no soft_prompt\.vectors"):
        await engine.ask("classify", request)


@pytest.fixture
def translator(translator_folder, tmp_path):
    """A translator with a soft prompt from Korean to Mongolian, and that prompt in PEFT."""
    from peft import PeftModel

    method, base = METHODS["soft_prompt"], load_base(translator_folder)
    config = method.Config(num_virtual_tokens=7)
    vectors = torch.randn(7, base.width, generator=torch.Generator().manual_seed(4)) * 2
    method.write(tmp_path / "ko-mn", config, {PROMPT: vectors}, base)
    described = ModuleDescription(name="ko-mn", source="ko", target="mn")
    export_module(tmp_path / "ko-mn", translator_folder, described)
    model = AutoModelForSeq2SeqLM.from_pretrained(translator_folder).float()
    theirs = PeftModel.from_pretrained(model, tmp_path / "ko-mn").eval()
    engine = TranslatorEngine(translator_folder, Settings(precision="fp32", threads=1), None)
    yield engine, theirs
    engine.close()


@pytest.mark.parametrize("beams", [1, 3])
async def test_a_translation_is_what_peft_generates(translator, beams):
    engine, theirs = translator
    texts = list(SENTENCES["ko"])
    request = TranslateRequest(
        texts=texts, source="ko", target="mn", beams=beams, n_best=beams, max_length=20
    )
    answers, bare = [
        await engine.translate(request.model_copy(update={"source": source}))
        for source in ("ko", "kk")
    ]
    said = [[each["translation"] for each in some] for some in (answers, bare)]
    assert said[0] != said[1]
    for text, answer in zip(texts, answers, strict=True):
        encoded = engine.encoder.encode_sentence(text, "ko")
        assert answer["source_tokens"] == len(encoded)
        assert answer["modules"][0].startswith("ko-mn@")
        ids = torch.from_numpy(encoded.token_ids)[None]
        with torch.no_grad():
            out = theirs.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                forced_bos_token_id=engine.base.language_tokens["mn"],
                max_new_tokens=20,
                num_beams=beams,
                num_return_sequences=beams,
                return_dict_in_generate=True,
                output_scores=True,
            )
        assert [each["text"] for each in answer["translations"]] == [
            engine.encoder.decode(row) for row in out.sequences.tolist()
        ]
        if beams > 1:
            scores = [each["score"] for each in answer["translations"]]
            np.testing.assert_allclose(scores, out.sequences_scores, atol=FP32_TOLERANCE)


async def test_directions_with_and_without_prompts_share_a_batch(translator):
    engine, _ = translator
    asked = [("ko", "mn"), ("ko", "en"), ("en", "ko"), ("en", "kk")] * 2
    texts = [SENTENCES[source][place % 6] for place, (source, _) in enumerate(asked)]
    requests = [
        TranslateRequest(texts=[text], source=source, target=target, max_length=16)
        for (source, target), text in zip(asked, texts, strict=True)
    ]
    alone = [(await engine.translate(each))[0] for each in requests]
    ready = []
    for request in requests:
        (leg,) = engine._legs(request)
        stack = engine._stack(leg.direction, ())
        begun = engine._passages.begin(request.texts[0], leg, stack, lambda passage: {})
        ready.append(begun.row.sentence)
    stacks = [engine._stack(pair, ()) for pair in asked]
    assert {len(stack.prompt) for stack in stacks} == {0, 7}
    with engine.bank.pin(stacks) as pinned:
        together = engine._decoder.decode(ready, pinned)
    for (best,), expected in zip(together, alone, strict=True):
        assert engine.encoder.decode(best.token_ids) == expected["translation"]
        assert abs(best.score - expected["translations"][0]["score"]) < FP32_TOLERANCE


async def test_a_translators_text_and_its_prompt_fit_together_or_it_is_cut(translator):
    engine, _ = translator
    text = " ".join(["ko"] * 12)
    tokens = len(engine.encoder.encode_sentence(text, "ko"))
    engine.encoder.base = engine.base = engine.base.model_copy(update={"max_tokens": tokens + 6})
    about = {"texts": [text], "source": "ko", "max_length": 4}
    (long,) = await engine.translate(TranslateRequest(**about, target="mn"))
    # In two halves, each of at most four tokens.
    assert long["translations"][0]["tokens"] == 8
    (fits,) = await engine.translate(TranslateRequest(**about, target="kk"))
    assert fits["source_tokens"] == tokens
