"""Decoding against Hugging Face's ``generate``, and rows of mixed batches against rows alone."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import M2M100ForConditionalGeneration

from adaptation.architectures import load_base
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder
from langmod.specs import FP32_TOLERANCE, ROW_TOLERANCE
from langmod.store import ModuleStore
from service import decoding
from service.bank import Bank, Stack
from service.decoding import Decoder, Sentence
from service.searches import SampledSearch, Sampling, SearchPlan
from service.session import GraphSet
from service.settings import Settings
from service.slots import Budget
from tests.service.published import publish
from tests.text import SENTENCES

TAGS = tuple(SENTENCES)
MODULES = {"bottleneck": 0.2, "lora": 0.2}
"""Method → how strong its random module is: enough to change what is said."""
TOLERANCES = {"fp32": ROW_TOLERANCE, "int8": 1e-3}
"""A last bit that kernels for other shapes round elsewhere may move an 8-bit activation a step."""


@pytest.fixture(scope="module")
def folder(tiny_translator, tmp_path_factory):
    """A copy of the tiny translator with a module of each method."""
    folder = tmp_path_factory.mktemp("decoding") / tiny_translator.name
    shutil.copytree(tiny_translator, folder)
    for method, scale in MODULES.items():
        publish(folder, method, "language", method, scale=scale, languages=("ko",))
    return folder


@pytest.fixture(scope="module")
def graphs(folder):
    return {
        precision: GraphSet(folder, Settings(precision=precision, threads=1))
        for precision in ("fp32", "int8")
    }


@pytest.fixture(scope="module")
def stacks(folder):
    """The bare base and each module."""
    store = ModuleStore(folder / "modules")
    return {"base": Stack(), **{name: Stack(store.load(name)) for name in MODULES}}


@pytest.fixture(scope="module")
def reference(folder):
    return M2M100ForConditionalGeneration.from_pretrained(folder).float().eval()


@pytest.fixture(scope="module")
def sentences(folder, graphs):
    """Greedy searches after twelve sentences of many lengths, all of other directions."""
    base = graphs["fp32"].base
    encoder = TextEncoder(folder / "tokenizer.json", base)
    found = []
    for place, tag in enumerate(TAGS):
        for number in range(3):
            text = " ".join(SENTENCES[tag][number : 1 + 2 * number])
            target = base.language_tokens[TAGS[(place + 1 + number) % len(TAGS)]]
            plan = SearchPlan(base.decoder_start_id, target, base.eos_id, max_length=24)
            found.append(
                Sentence(encoder.encode_sentence(text, tag, truncate=True).token_ids, plan)
            )
    assert len({len(each.token_ids) for each in found}) > 6
    return found


def planned(sentences, **changes):
    return [replace(each, plan=replace(each.plan, **changes)) for each in sentences]


def decode(graphs, sentences, stacks=None):
    stacks = stacks or [Stack()] * len(sentences)
    with Bank(graphs.spec.banks, Budget(8, 2**20)).pin(stacks) as pinned:
        return Decoder(graphs).decode(sentences, pinned)


def decode_alone(graphs, sentences, stacks=None):
    stacks = stacks or [Stack()] * len(sentences)
    pairs = zip(sentences, stacks, strict=True)
    return [decode(graphs, [sentence], [stack])[0] for sentence, stack in pairs]


def generate(model, sentence):
    """Token ids after the start token and scores, as Hugging Face finds them."""
    ids, plan = torch.tensor(sentence.token_ids)[None], sentence.plan
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        forced_bos_token_id=plan.target_id,
        max_new_tokens=plan.max_length,
        num_beams=plan.beams,
        num_return_sequences=plan.n_best,
        do_sample=False,
        early_stopping=False,
        length_penalty=1.0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    pad = model.config.pad_token_id
    sequences = [tuple(each[1:][each[1:] != pad].tolist()) for each in out.sequences]
    if plan.beams > 1:
        return sequences, out.sequences_scores.tolist()
    steps = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    return sequences, [steps.sum().item() / len(sequences[0])]


def assert_same(found, expected, tolerance):
    """Equal tokens, and scores that differ no more than the tolerance."""
    assert len(found) == len(expected)
    for some, others in zip(found, expected, strict=True):
        assert [each.token_ids for each in some] == [each.token_ids for each in others]
        np.testing.assert_allclose(
            [each.score for each in some], [each.score for each in others], rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("beams", [1, 4])
def test_every_row_says_what_hugging_face_generates(graphs, sentences, reference, beams):
    asked = planned(sentences, beams=beams, n_best=beams)
    alone, mixed = decode_alone(graphs["fp32"], asked), decode(graphs["fp32"], asked)
    ends = {each.token_ids[-1] == 2 for some in mixed for each in some}
    assert ends == {True, False}, "some end by themselves and some are cut"
    assert len({len(some[0].token_ids) for some in mixed}) >= 3
    for found in (alone, mixed):
        for sentence, hypotheses in zip(asked, found, strict=True):
            sequences, scores = generate(reference, sentence)
            assert [each.token_ids for each in hypotheses] == sequences
            got = [each.score for each in hypotheses]
            np.testing.assert_allclose(got, scores, rtol=0, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_module_says_what_hugging_face_generates_with_it(
    folder, graphs, sentences, stacks, beams
):
    slotted = SlottedBase(load_base(folder, attention="eager"))
    slotted.eval()
    asked = planned(sentences[:4], beams=beams, n_best=beams)
    for name in MODULES:
        module = stacks[name].language
        tensors = {f"language.{key}": torch.tensor(t) for key, t in module.tensors.items()}
        found = decode(graphs["fp32"], asked, [stacks[name]] * len(asked))
        for sentence, hypotheses in zip(asked, found, strict=True):
            with slotted.using(FixedSource(tensors)):
                sequences, scores = generate(slotted.model, sentence)
            assert [each.token_ids for each in hypotheses] == sequences
            got = [each.score for each in hypotheses]
            np.testing.assert_allclose(got, scores, rtol=0, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("beams", [1, 4])
def test_modules_and_directions_mixed_in_one_batch(graphs, sentences, stacks, precision, beams):
    asked = planned(sentences, beams=beams, n_best=beams)
    pure = {
        name: [some[0].token_ids for some in decode(graphs[precision], asked, [stack] * len(asked))]
        for name, stack in stacks.items()
    }
    for one, other in [("base", "bottleneck"), ("base", "lora"), ("bottleneck", "lora")]:
        differ = sum(a != b for a, b in zip(pure[one], pure[other], strict=True))
        assert differ > len(asked) / 2, (one, other)
    mixture = [list(stacks.values())[place % 3] for place in range(len(asked))]
    mixed = decode(graphs[precision], asked, mixture)
    assert_same(mixed, decode_alone(graphs[precision], asked, mixture), TOLERANCES[precision])
    for place, name in enumerate(list(stacks) * 4):
        assert mixed[place][0].token_ids == pure[name][place]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_plans_of_every_kind_in_one_batch(graphs, sentences, precision):
    plans = [
        {"beams": 1},
        {"beams": 4, "n_best": 2},
        {"beams": 2, "max_length": 7},
        {"beams": 4, "n_best": 4, "sampling": Sampling(10, 1.0, (3,))},
        {"beams": 1, "sampling": Sampling(50, 1.5, (4,))},
        {"beams": 1, "max_length": 2},
    ]
    asked = [planned([each], **plans[at % 6])[0] for at, each in enumerate(sentences)]
    together = decode(graphs[precision], asked)
    assert [len(some) for some in together[:6]] == [1, 2, 1, 4, 1, 1]
    assert_same(together, decode_alone(graphs[precision], asked), TOLERANCES[precision])


def test_rows_begin_with_their_target_and_keep_to_their_own_limit(graphs, sentences):
    limits = [2, 3, 5, 8, 13, 24] * 2
    asked = [
        planned([each], max_length=limit, beams=2, n_best=2)[0]
        for each, limit in zip(sentences, limits, strict=True)
    ]
    for sentence, some in zip(asked, decode(graphs["fp32"], asked), strict=True):
        for each in some:
            assert each.token_ids[0] == sentence.plan.target_id
            assert 2 <= len(each.token_ids) <= sentence.plan.max_length
            ended = each.token_ids[-1] == sentence.plan.eos_id
            assert ended or len(each.token_ids) == sentence.plan.max_length
        assert some[0].score >= some[1].score


def test_finished_sentences_leave_the_batch(graphs, sentences, monkeypatch):
    carried = []
    run = decoding.Steps.run

    def noting(steps, tokens, parents, candidates):
        carried.append((len(tokens), len(steps._sources)))
        return run(steps, tokens, parents, candidates)

    monkeypatch.setattr(decoding.Steps, "run", noting)
    asked = [
        planned([each], max_length=3 + 2 * at, beams=2)[0] for at, each in enumerate(sentences)
    ]
    found = decode(graphs["fp32"], asked)
    assert carried[:3] == [(12, 12), (12, 12), (24, 12)]
    assert len({rows for rows, _ in carried[2:]}) > 3
    assert all(rows == 2 * count for rows, count in carried[2:])
    assert len(carried) <= max(each.plan.max_length for each in asked)
    assert [len(some) for some in found] == [1] * len(asked)


def test_short_sentences_are_not_padded_to_long_ones_when_read(graphs, sentences, monkeypatch):
    whole = decode(graphs["fp32"], sentences)
    read = []
    encode = Decoder._read_alike

    def noting(decoder, some, pinned):
        read.append(sorted(len(each.token_ids) for each in some))
        return encode(decoder, some, pinned)

    monkeypatch.setattr(Decoder, "_read_alike", noting)
    assert_same(decode(graphs["fp32"], sentences), whole, ROW_TOLERANCE)
    lengths = sorted(len(each.token_ids) for each in sentences)
    assert sorted(length for group in read for length in group) == lengths
    assert len(read) > 1
    assert all(group[0] > group[-1] / 2 for group in read)
    assert_same(whole, decode_alone(graphs["fp32"], sentences), ROW_TOLERANCE)


def test_a_large_group_is_decoded_in_parts(graphs, sentences, monkeypatch):
    asked = planned(sentences, beams=2)
    whole = decode(graphs["fp32"], asked)
    monkeypatch.setattr(decoding, "HYPOTHESES", 6)
    assert_same(decode(graphs["fp32"], asked), whole, ROW_TOLERANCE)


def test_what_is_drawn_depends_on_its_seed_alone(graphs, sentences):
    def drawn(seed, rows, **changes):
        asked = planned(rows, beams=3, n_best=3, sampling=Sampling(20, 1.0, seed), **changes)
        return decode(graphs["fp32"], asked)

    first = drawn((1, 5), sentences)
    assert_same(first, drawn((1, 5), sentences), 0)
    assert_same(first[4:5], drawn((1, 5), sentences[4:5]), ROW_TOLERANCE)
    other = drawn((2, 5), sentences)
    assert sum(a[0].token_ids != b[0].token_ids for a, b in zip(first, other, strict=True)) > 8
    assert len({each.token_ids for each in first[0]}) > 1, "draws of one text differ"
    (one,) = decode(
        graphs["fp32"], planned(sentences[:1], sampling=Sampling(20, 1.0, (1, 5)), beams=1)
    )
    assert one[0].token_ids == first[0][0].token_ids, "asking for fewer draws the same"


def test_drawing_from_the_likeliest_alone_is_greedy_search(graphs, sentences):
    drawn = decode(graphs["fp32"], planned(sentences, sampling=Sampling(1, 1.0, (0,))))
    assert_same(drawn, decode(graphs["fp32"], sentences), ROW_TOLERANCE)


@pytest.mark.parametrize(
    ("top_k", "temperature", "expected"),
    [
        (3, 1.0, [0.5, 0.3, 0.2]),
        (2, 1.0, [0.625, 0.375, 0.0]),
        (3, 0.5, [25 / 38, 9 / 38, 4 / 38]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(top_k, temperature, expected):
    scores, tokens = np.log([[0.5, 0.3, 0.2]]).astype(np.float32), np.array([[7, 9, 4]])
    counts = dict.fromkeys([7, 9, 4], 0)
    for seed in range(100):
        sampling = Sampling(top_k, temperature, (seed,))
        search = SampledSearch(
            SearchPlan(2, 5, 2, 2, beams=20, n_best=20, sampling=sampling), sampling
        )
        for _ in range(2):
            search.advance(scores, tokens)
        assert search.done
        for each in search.best():
            counts[each.token_ids[1]] += 1
    got = np.array(list(counts.values())) / 2000
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.04)
