"""The encoder's engine against torch, and every row of a mixed batch against itself alone."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from adaptation.architectures import load_base
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.errors import LangmodError, UnsureLanguage
from langmod.langid import LanguageIdentifier
from langmod.specs import FP32_TOLERANCE, ROW_TOLERANCE, GraphSpec
from langmod.tasks import TASKS
from service.encoder import EncoderEngine, head_batch
from service.fair_queue import padded
from service.rows import batch_shape
from service.schemas import ClassifyRequest, EmbedRequest, FillMaskRequest, TagRequest
from service.settings import Settings
from tests.service.published import INVERTIBLE, TOPICS, publish
from tests.text import SENTENCES


def with_mask(text):
    words = text.split()
    return " ".join([words[0], "<mask>", *words[2:]])


def request_of(kind, tag, texts):
    if kind == "fill_mask":
        return FillMaskRequest(texts=[with_mask(text) for text in texts], language=tag, top_k=4)
    if kind == "embed":
        return EmbedRequest(texts=list(texts), language=tag)
    if kind == "tag":
        return TagRequest(texts=list(texts), language=tag, task="ner")
    return ClassifyRequest(texts=list(texts), language=tag, task=kind)


ASKED = [
    *itertools.product(["fill_mask", "embed", "topic"], SENTENCES),
    ("tag", "ko"),
    ("tag", "kk"),
    ("sentiment", "ko"),
]
"""Four languages (both methods and the bare base), three tasks, five heads."""


def endpoint(kind):
    return kind if kind in ("fill_mask", "embed", "tag") else "classify"


def numbers(answer):
    """Everything in an answer that the graphs decide, in one order."""
    if "masks" in answer:
        return [c["score"] for mask in answer["masks"] for c in mask]
    if "labels" in answer:
        return [each["score"] for each in sorted(answer["labels"], key=lambda x: x["label"])]
    return answer["vector"] if "vector" in answer else [s["score"] for s in answer["spans"]]


def words(answer):
    """What the numbers are of."""
    if "masks" in answer:
        return [c["token"] for mask in answer["masks"] for c in mask]
    return [(s["start"], s["end"], s["label"]) for s in answer.get("spans", [])]


SHIPPED = Path(__file__).parents[2] / "models" / "langid"


@pytest.fixture(params=["fp32", "int8"])
def engine(encoder_folder, request):
    precision = request.param
    settings = Settings(models=encoder_folder.parent, precision=precision, threads=1)
    engine = EncoderEngine(encoder_folder, settings, None)
    yield engine
    engine.close()


async def ask(engine, kind, tag, texts):
    return await engine.ask(endpoint(kind), request_of(kind, tag, texts))


async def test_a_row_in_a_mixed_batch_answers_as_it_does_alone(engine, monkeypatch):
    """Languages, tasks, methods, heads and lengths of all sorts in one batch."""
    alone = {
        (kind, tag, text): (await ask(engine, kind, tag, [text]))[0]
        for kind, tag in ASKED
        for text in SENTENCES[tag][:3]
    }
    sizes, execute = [], engine.execute

    def spy(rows, pinned):
        sizes.append(len(rows))
        assert len({row.language for row in rows}) > 3 or len(rows) < 30
        return execute(rows, pinned)

    monkeypatch.setattr(engine, "execute", spy)
    plans = [(kind, tag, engine._plan(endpoint(kind), request_of(kind, tag, [text])), text)
             for kind, tag, text in alone]  # fmt: skip
    ready = [plan(0, with_mask(text) if kind == "fill_mask" else text)
             for kind, tag, plan, text in plans]  # fmt: skip
    outputs = engine.run([each.row for each in ready])
    together = [each.finish([output]) for each, output in zip(ready, outputs, strict=True)]
    assert sizes == [len(alone)]
    for (key, expected), got in zip(alone.items(), together, strict=True):
        assert got["modules"] == expected["modules"], key
        assert words(got) == words(expected), key
        np.testing.assert_allclose(numbers(got), numbers(expected), atol=ROW_TOLERANCE, rtol=0)


async def test_modules_change_the_answers(engine):
    """Without this the test above could pass with modules that do nothing."""
    text = SENTENCES["mn"][0]
    seen = {}
    for modules in [[], ["mn-bottleneck"], ["ko-lora"], ["kk-bottleneck"], ["eu-lora"]]:
        request = EmbedRequest(texts=[text], language="en", modules=modules)
        (answer,) = await engine.ask("embed", request)
        assert [key.partition("@")[0] for key in answer["modules"]] == modules
        seen[tuple(modules)] = np.array(answer["vector"])
    for (a, first), (b, second) in itertools.combinations(seen.items(), 2):
        assert np.abs(first - second).max() > 0.01, (a, b)


async def test_the_bare_base_answers_as_torch_does(encoder_folder, settings):
    engine = EncoderEngine(encoder_folder, settings, None)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    model = AutoModelForMaskedLM.from_pretrained(encoder_folder, dtype=torch.float32).eval()
    texts = [with_mask(text) for text in SENTENCES["en"]]
    answers = await engine.ask("fill_mask", FillMaskRequest(texts=texts, language="en", top_k=5))
    for text, answer in zip(texts, answers, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]
        scores, tokens = logits.softmax(-1)[0].topk(5)
        got = [each["score"] for each in answer["masks"][0]]
        np.testing.assert_allclose(got, scores, atol=FP32_TOLERANCE, rtol=0)
        expected = [tokenizer.decode([each]).strip() for each in tokens]
        assert [each["token"] for each in answer["masks"][0]] == expected
    engine.close()


async def test_invertible_modules_fill_masks_beside_others_as_torch_does(encoder_folder, precision):
    """Each mask takes the block of its own row, in a batch whose rows have several masks or one."""
    several = {"rank": 4, "scale": 0.3, "invertible": True}
    publish(encoder_folder, "tr-inv", "language", "bottleneck", languages=("tr",), **several)
    publish(encoder_folder, "rw-inv", "language", "double_bottleneck", languages=("rw",), **several)
    settings = Settings(models=encoder_folder.parent, precision=precision, threads=1)
    engine = EncoderEngine(encoder_folder, settings, None)
    text, twice = "The <mask> left early", "<mask> train left <mask>"
    asked = [("tr", text), ("en", twice), ("ko", text), ("rw", twice), ("tr", twice), ("en", text)]

    rows = []
    for tag, masked in asked:
        request = FillMaskRequest(texts=[masked], language=tag, top_k=5)
        rows.append(engine._plan("fill_mask", request)(0, masked).row)
    together = engine.run(rows)
    for row, mixed in zip(rows, together, strict=True):
        (single,) = engine.run([row])
        np.testing.assert_array_equal(mixed["tokens"], single["tokens"])
        np.testing.assert_allclose(mixed["scores"], single["scores"], atol=ROW_TOLERANCE, rtol=0)
    if precision == "fp32":
        slotted = SlottedBase(load_base(encoder_folder)).eval()
        for row, mixed in zip(rows, together, strict=True):
            assert_as_torch(slotted, engine.base.mask_id, row, mixed)
    engine.close()


def assert_as_torch(slotted, mask_id, row, found):
    """What a row's masks were given, and that its invertible adapter has a part in it."""
    ids = torch.from_numpy(row.encoded.token_ids)[None]
    tensors = row.stack.language.tensors if row.stack.language else {}
    whole = {f"language.{name}": torch.from_numpy(each) for name, each in tensors.items()}
    inner = {name: each for name, each in whole.items() if INVERTIBLE not in name}
    scores = []
    for named in (whole, inner):
        with torch.no_grad(), slotted.using(FixedSource(named)):
            logits = slotted.model(input_ids=ids).logits[ids == mask_id]
        scores.append(logits.softmax(-1).gather(1, torch.from_numpy(found["tokens"])).numpy())
    np.testing.assert_allclose(found["scores"], scores[0], atol=FP32_TOLERANCE, rtol=0)
    if len(inner) < len(whole):
        assert np.abs(scores[0] - scores[1]).max() > 10 * FP32_TOLERANCE


async def test_the_longest_text_is_read_to_its_end(engine):
    limit = engine.base.max_tokens
    whole = engine.encoder.encode("a " * limit, truncate=True)
    text = ("a " * limit)[: whole.offsets[-2, 1]]
    assert len(engine.encoder.encode(text)) == limit
    other = text.rstrip()[:-1] + "t" + text[len(text.rstrip()) :]
    request = EmbedRequest(texts=[text, other, text + "a a a", "a"], language="en")
    first, second, long, short = await engine.ask("embed", request)
    assert np.abs(np.array(first["vector"]) - second["vector"]).max() > 1e-4
    assert (long.code, long.details["limit"]) == ("text_too_long", limit)
    assert len(short["vector"]) == engine.base.width


async def test_more_modules_than_slots_only_take_turns(encoder_folder, precision):
    for number in range(6):
        publish(encoder_folder, f"x{number}-lora", "language", "lora", rank=1 + number % 3)
    wide, narrow = (
        EncoderEngine(
            encoder_folder,
            Settings(models=encoder_folder.parent, precision=precision, slots=slots, threads=1),
            None,
        )
        for slots in (64, 2)
    )
    for engine in (wide, narrow):
        engine.answers = await asyncio.gather(
            *(
                engine.ask(
                    "embed",
                    EmbedRequest(texts=["The train"], language="en", modules=[f"x{n % 6}-lora"]),
                )
                for n in range(24)
            )
        )
        engine.close()
    for (a,), (b,) in zip(wide.answers, narrow.answers, strict=True):
        assert a["modules"] == b["modules"]
        np.testing.assert_allclose(a["vector"], b["vector"], atol=ROW_TOLERANCE, rtol=0)
    assert len(narrow.bank.roles["language"].resident) == 2
    assert narrow.bank.roles["language"].events["eviction"] >= 4


async def test_padding_never_goes_beyond_the_positions_of_the_base(engine):
    engine.base = engine.base.model_copy(update={"max_tokens": 58})
    plan = engine._plan("embed", EmbedRequest(texts=["x"], language="en"))
    text = "The train " * 40
    whole = engine.encoder.encode(text, truncate=True)
    rows = [plan(0, text[: whole.offsets[end, 1]]).row for end in (2, 55)]
    assert 48 < max(row.length for row in rows) <= 58
    assert batch_shape(rows, engine.base) == (2, min(58, padded(rows[1].length)))


@pytest.mark.parametrize("engine", ["fp32"], indirect=True)
async def test_a_head_reads_the_first_token_or_the_mean_as_it_was_trained(engine, encoder_folder):
    hidden = np.random.default_rng(0).normal(size=(2, 40, engine.base.width)).astype(np.float32)
    for task, pooled in [("topic", lambda h, n: h[0]), ("sentiment", lambda h, n: h[:n].mean(0))]:
        plan = engine._plan("classify", request_of(task, "ko", SENTENCES["ko"][:2]))
        rows = [plan(place, text).row for place, text in enumerate(SENTENCES["ko"][:2])]
        with engine.bank.pin([row.stack for row in rows]) as pinned:
            batch = head_batch(rows, hidden, pinned.slots, {})
            outputs = TASKS["classify"].run(batch, engine._head("classify", None, pinned))
        for row, output, states in zip(rows, outputs, hidden, strict=True):
            own = {k.partition(".")[2]: v for k, v in row.stack.task.tensors.items()}
            dense = np.tanh(pooled(states, row.length) @ own["dense_weight"] + own["dense_bias"])
            expected = dense @ own["out_weight"] + own["out_bias"]
            np.testing.assert_allclose(output["logits"], expected, atol=FP32_TOLERANCE, rtol=1e-5)


async def test_a_language_left_out_is_detected_text_by_text(encoder_folder, settings):
    engine = EncoderEngine(encoder_folder, settings, LanguageIdentifier.load(SHIPPED))
    texts = [lines[0] for lines in SENTENCES.values()]
    kyrgyz = "Бардык адамдар өз беделинде жана укуктарында эркин жана тең болуп жаралат."
    request = ClassifyRequest(texts=[*texts, kyrgyz], task="topic")
    *answers, unsure = await engine.ask("classify", request)
    assert [each["language"] for each in answers] == list(SENTENCES)
    assert all(0.5 < each["language_probability"] <= 1 for each in answers)
    assert [len(each["modules"]) for each in answers] == [1, 2, 2, 2]
    assert isinstance(unsure, UnsureLanguage)
    assert unsure.details["detected"][0]["language"] == "ky"
    given = ClassifyRequest(texts=texts[1:2], task="topic", language="khk")
    (same,) = await engine.ask("classify", given)
    assert same["language_probability"] is None
    assert same["labels"] == answers[1]["labels"]
    assert {each["label"] for each in same["labels"]} == set(TOPICS)
    engine.close()


async def test_a_named_language_module_needs_no_language(engine):
    request = EmbedRequest(texts=["Тэр өглөө"], modules=["mn-bottleneck"])
    (answer,) = await engine.ask("embed", request)
    assert (answer["language"], answer["language_probability"]) == ("mn", None)


async def test_numbers_that_are_not_finite_fail_their_row_alone(engine, encoder_folder):
    huge = {"rank": 1, "languages": ("xx",)}
    publish(encoder_folder, "xx-huge", "language", "bottleneck", scale=1e30, **huge)
    good, bad = await asyncio.gather(
        engine.ask("embed", EmbedRequest(texts=["The train"], language="en")),
        engine.ask("embed", EmbedRequest(texts=["The train"], language="xx")),
    )
    assert isinstance(bad[0], LangmodError)
    assert "xx-huge" in bad[0].message
    assert np.isfinite(good[0]["vector"]).all()


async def test_many_requests_at_once_never_mix_up_answers(engine):
    """Threads of callers, slots fewer than modules, every answer checked against the quiet one."""
    quiet = {
        (kind, tag): numbers((await ask(engine, kind, tag, SENTENCES[tag][:1]))[0])
        for kind, tag in ASKED
    }
    loop = asyncio.get_running_loop()

    def call(key):
        kind, tag = key
        asked = ask(engine, kind, tag, SENTENCES[tag][:1])
        return key, asyncio.run_coroutine_threadsafe(asked, loop).result(60)

    with ThreadPoolExecutor(8) as pool:
        jobs = [loop.run_in_executor(pool, call, key) for key in ASKED * 6]
        for key, (answer,) in await asyncio.gather(*jobs):
            np.testing.assert_allclose(numbers(answer), quiet[key], atol=ROW_TOLERANCE, rtol=0)


async def test_vectors_are_of_what_the_base_reads_in_front(encoder_folder):
    """A base with prefixes reads a query unless told; one without takes no kind."""
    text = SENTENCES["ko"][0]
    settings = Settings(models=encoder_folder.parent, precision="fp32", threads=1)
    plain = EncoderEngine(encoder_folder, settings, None)
    fronts = {"query": "a ", "passage": "b c "}
    expected = [
        (await plain.ask("embed", EmbedRequest(texts=[each + text], language="ko")))[0]["vector"]
        for each in ("", *fronts.values())
    ]
    assert len({tuple(each) for each in expected}) == 3
    (refused,) = await plain.ask("embed", EmbedRequest(texts=[text], language="ko", kind="query"))
    assert "knows no kind 'query' of text; it knows: none" in str(refused)
    plain.close()
    graphs = encoder_folder / "onnx" / "fp32"
    spec = GraphSpec.load(graphs)
    told = spec.base.model_copy(update={"prefixes": fronts})
    spec.model_copy(update={"base": told}).save(graphs)
    engine = EncoderEngine(encoder_folder, settings, None)
    for kind, wanted in ((None, 1), ("query", 1), ("passage", 2)):
        request = EmbedRequest(texts=[text], language="ko", kind=kind)
        found = (await engine.ask("embed", request))[0]["vector"]
        np.testing.assert_allclose(found, expected[wanted], atol=ROW_TOLERANCE, rtol=0)
    engine.close()
