"""Modules with words of their own in the encoder's engine, against torch and beside all others."""

import asyncio
import gc
import hashlib
import json
import weakref

import numpy as np
import pytest
import torch

from adaptation.architectures import load_base
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder
from langmod.errors import BrokenModule, ModuleMismatch, NoMaskToken
from langmod.specs import FP32_TOLERANCE, ROW_TOLERANCE, GraphSpec
from langmod.store import ModuleStore
from langmod.tasks import TASKS, Example
from langmod.tasks.fill_mask import mask_positions
from service.encoder import EncoderEngine
from service.schemas import ClassifyRequest, EmbedRequest, FillMaskRequest
from service.settings import Settings
from tests.service.published import learnt, publish
from tests.service.test_encoder import ask, endpoint, numbers, request_of, with_mask, words
from tests.text import SENTENCES

LINES = [line for lines in SENTENCES.values() for line in lines]
ASKED = [
    (kind, tag)
    for kind in ("fill_mask", "embed", "topic", "tag")
    for tag in ("tr", "rw", "ko", "kk")
] + [("fill_mask", "en"), ("embed", "en"), ("topic", "en")]
"""Two vocabularies, LoRA, bottleneck and the bare base."""


@pytest.fixture
def folder(encoder_folder):
    """Two languages with words of their own: fewer than the base's, and more."""
    for seed, (tag, lines, size) in enumerate((("tr", LINES[:12], 330), ("rw", LINES, 1200)), 1):
        words = learnt(tuple(lines), size)
        publish(encoder_folder, f"{tag}-xpt", "language", "xpt", words=words, seed=seed, scale=0.3,
                languages=(tag,))  # fmt: skip
    ner = {"task": "ner", "kind": "tag", "labels": ("O", "B-LOC", "I-LOC"), "priority": -1}
    publish(encoder_folder, "ner-any", "task", "bottleneck+tag", languages=("*",), **ner)
    return encoder_folder


@pytest.fixture(params=["fp32", "int8"])
def engine(folder, request):
    settings = Settings(models=folder.parent, precision=request.param, threads=1)
    engine = EncoderEngine(folder, settings, None)
    yield engine
    engine.close()


@pytest.fixture
def exact(folder):
    engine = EncoderEngine(folder, Settings(models=folder.parent, precision="fp32"), None)
    yield engine
    engine.close()


def lines_of(tag):
    return SENTENCES.get(tag, LINES[3:15:2])


async def test_a_row_beside_other_vocabularies_answers_as_it_does_alone(engine, monkeypatch):
    sizes = [engine._vocabularies.of(ModuleStore(engine.resolver.index.store.storage).load(name))
             .encoder.vocabulary for name in ("tr-xpt", "rw-xpt")]  # fmt: skip
    assert sizes[0] < engine.encoder.vocabulary < sizes[1]
    alone = {
        (kind, tag, text): (await ask(engine, kind, tag, [text]))[0]
        for kind, tag in ASKED
        for text in lines_of(tag)[:3]
    }
    bodies, run = [], engine.graphs["body"].run

    def spy(feeds, *rest):
        bodies.append(len(feeds["mask"]))
        return run(feeds, *rest)

    monkeypatch.setattr(engine.graphs["body"], "run", spy)
    ready = [
        engine._plan(endpoint(kind), request_of(kind, tag, [text]))(
            0, with_mask(text) if kind == "fill_mask" else text
        )
        for kind, tag, text in alone
    ]
    outputs = engine.run([each.row for each in ready])
    together = [each.finish([output]) for each, output in zip(ready, outputs, strict=True)]
    assert bodies == [len(alone)], "one body for all vocabularies"
    for (key, expected), got in zip(alone.items(), together, strict=True):
        assert got["modules"] == expected["modules"], key
        assert words(got) == words(expected), key
        np.testing.assert_allclose(numbers(got), numbers(expected), atol=ROW_TOLERANCE, rtol=0)


def torch_answer(folder, module, task, kind, text):
    """What training's torch answers for one text alone."""
    slotted = SlottedBase(load_base(folder)).eval()
    base = slotted.architecture
    spec = GraphSpec.load(folder / "onnx" / "fp32").base
    encoder = TextEncoder(module.tokenizer, spec, module.manifest.vocabulary)
    encoded = TASKS[kind].encode(encoder, text)
    tensors = {
        f"{each.manifest.role}.{name}": torch.from_numpy(tensor)
        for each in (module, task)
        if each is not None
        for name, tensor in each.tensors.items()
    }
    ids = torch.from_numpy(encoded.token_ids).unsqueeze(0)
    with torch.no_grad(), slotted.using(FixedSource(tensors)):
        hidden = base.backbone(input_ids=ids).last_hidden_state
        if kind == "fill_mask":
            logits = slotted.model(input_ids=ids).logits[0, mask_positions(encoded, encoder)]
            scores, tokens = logits.softmax(-1).topk(30)
            output = {"scores": scores.numpy(), "tokens": tokens.numpy()}
        elif kind == "embed":
            output = {"hidden": hidden[0].numpy()}
        else:
            head = {
                bank.name.rsplit(".", 1)[1]: tensors[bank.name].unsqueeze(0)
                for bank in TASKS[kind].head_banks(base.width)
            }
            pool = torch.zeros(ids.shape)
            pool[0, 0] = 1
            output = {"logits": TASKS[kind].head(hidden, pool, head)[0].numpy()}
    labels = task.manifest.labels if task else ()
    return TASKS[kind].decode(output, Example(text, encoded, encoder, labels, 4)).model_dump()


@pytest.mark.parametrize(
    ("kind", "task"),
    [("fill_mask", None), ("embed", None), ("topic", "topic-bottleneck"), ("tag", "ner-any")],
)
async def test_every_endpoint_answers_as_torch_does(exact, folder, kind, task):
    """Task modules that were trained without these vocabularies included."""
    store = ModuleStore(folder / "modules")
    for tag in ("tr", "rw"):
        text = with_mask(LINES[8]) if kind == "fill_mask" else LINES[8]
        module, head = store.load(f"{tag}-xpt"), store.load(task) if task else None
        expected = torch_answer(folder, module, head, endpoint(kind), text)
        (got,) = await ask(exact, kind, tag, [LINES[8]])
        assert got["modules"] == [each.key for each in (module, head) if each]
        assert words(got) == words(expected)
        np.testing.assert_allclose(numbers(got), numbers(expected), atol=FP32_TOLERANCE, rtol=0)


async def test_each_vocabulary_answers_otherwise(exact):
    answers = [
        numbers((await ask(exact, "embed", tag, [LINES[0]]))[0]) for tag in ("tr", "rw", "en")
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(np.subtract(answers[one], answers[other])).max() > 0.05


async def test_a_soft_prompt_of_the_task_stands_before_its_own_words(exact, folder):
    """The layers of the language see its text alone, as in torch."""
    fields = {"task": "mood", "kind": "classify", "labels": ("a", "b"), "languages": ("*",)}
    publish(folder, "mood-prompt", "task", "soft_prompt+classify", pooling="mean", **fields)
    store, text = ModuleStore(folder / "modules"), LINES[9]
    module, task = store.load("tr-xpt"), store.load("mood-prompt")
    request = ClassifyRequest(texts=[text, LINES[2]], task="mood", language="tr")
    got, _ = await exact.ask("classify", request)
    slotted = SlottedBase(load_base(folder)).eval()
    encoder = TextEncoder(module.tokenizer, exact.base, module.manifest.vocabulary)
    ids = torch.from_numpy(encoder.encode(text).token_ids).unsqueeze(0)
    tensors = {f"{each.manifest.role}.{name}": torch.from_numpy(tensor)
               for each in (module, task) for name, tensor in each.tensors.items()}  # fmt: skip
    with torch.no_grad(), slotted.using(FixedSource(tensors)):
        hidden = slotted.architecture.backbone(input_ids=ids).last_hidden_state
        head = {
            name.removeprefix("task.classify."): tensor.unsqueeze(0)
            for name, tensor in tensors.items()
            if name.startswith("task.classify.")
        }
        pool = torch.full(ids.shape, 1 / ids.shape[1])
        expected = TASKS["classify"].head(hidden, pool, head)[0].softmax(-1)
    scores = {each["label"]: each["score"] for each in got["labels"]}
    np.testing.assert_allclose([scores["a"], scores["b"]], expected, atol=FP32_TOLERANCE, rtol=0)


async def test_masks_are_filled_with_its_own_words(exact, folder):
    module = ModuleStore(folder / "modules").load("rw-xpt")
    encoder = TextEncoder(module.tokenizer, exact.base, module.manifest.vocabulary)
    request = FillMaskRequest(texts=[with_mask(LINES[0]), LINES[0]], language="rw", top_k=40)
    answer, fault = await exact.ask("fill_mask", request)
    found = [each["token"] for each in answer["masks"][0]]
    pieces = {encoder.piece(token)[0] for token in range(encoder.vocabulary)}
    theirs = {exact.encoder.piece(token)[0] for token in range(exact.encoder.vocabulary)}
    assert len(found) == 40
    assert set(found) <= pieces
    assert not set(found) <= theirs
    assert isinstance(fault, NoMaskToken)


async def test_its_rows_take_no_slot_and_its_words_go_with_it(exact):
    await ask(exact, "embed", "tr", [LINES[0]])
    assert not exact.bank.roles["language"].resident
    (key,) = exact._vocabularies._known
    gone = weakref.ref(key)
    del key
    exact.resolver.cache._modules.clear()
    gc.collect()
    assert gone() is None
    assert not exact._vocabularies._known


async def test_a_tokenizer_that_is_none_fails_its_rows_alone(exact, folder):
    store = ModuleStore(folder / "modules")
    whole, more = store.load("tr-xpt"), store.load("rw-xpt")
    wider = more.manifest.vocabulary.model_copy(update={"size": whole.manifest.vocabulary.size})
    for name, about, text in (
        ("xx-odd", whole.manifest.vocabulary, b"{}"),
        ("xy-more", wider, more.tokenizer),
    ):
        own = {"name": name, "languages": (name[:2],), "vocabulary": about}
        store.publish(whole.manifest.model_copy(update=own), whole.tensors, text)
    good, *bad = await asyncio.gather(
        exact.ask("embed", EmbedRequest(texts=["The train"], language="en")),
        exact.ask("embed", EmbedRequest(texts=["The train"], language="xx")),
        exact.ask("embed", EmbedRequest(texts=["The train"], language="xy")),
    )
    assert np.isfinite(good[0]["vector"]).all()
    assert [type(each) for (each,) in bad] == [BrokenModule, BrokenModule]
    assert "'xx-odd': tokenizer.json is no tokenizer" in bad[0][0].message
    assert "'xy-more': its tokenizer has" in bad[1][0].message


async def test_graphs_from_before_serve_all_but_these(folder):
    """As they were exported without the parts around the body."""
    path = folder / "onnx" / "fp32" / "graph.json"
    old = json.loads(path.read_text())
    old["banks"] = [bank for bank in old["banks"] if ".xpt." not in bank["name"]]
    old["graphs"] = {name: each for name, each in old["graphs"].items() if "xpt" not in name}
    path.write_text(json.dumps(old))
    engine = EncoderEngine(folder, Settings(models=folder.parent, precision="fp32"), None)
    (served,) = await ask(engine, "embed", "ko", [LINES[0]])
    assert served["modules"]
    with pytest.raises(ModuleMismatch, match="method xpt: export the graphs again") as refused:
        await ask(engine, "embed", "tr", [LINES[0]])
    assert len(refused.value.details["faults"]) == 1
    engine.close()


def test_a_table_of_other_size_than_its_vocabulary_is_refused(folder):
    spec = GraphSpec.load(folder / "onnx" / "fp32")
    whole = ModuleStore(folder / "modules").load("tr-xpt").manifest
    assert whole.faults(spec.base, spec.banks) == []
    size = whole.vocabulary.size
    fewer = whole.vocabulary.model_copy(update={"size": size - 1})
    assert whole.model_copy(update={"vocabulary": fewer}).faults(spec.base, spec.banks) == [
        f"{name} has {size} tokens, the module's vocabulary {size - 1}"
        for name in ("xpt.bias", "xpt.words")
    ]
    bare = whole.model_copy(update={"vocabulary": None}).faults(spec.base, spec.banks)
    assert bare[0] == f"xpt.bias has {size} tokens, the module's vocabulary none"


async def test_what_was_sealed_is_what_is_read(exact, folder):
    module = ModuleStore(folder / "modules").load("tr-xpt")
    sealed = module.manifest.vocabulary.sha256
    assert sealed == hashlib.sha256(module.tokenizer).hexdigest()
