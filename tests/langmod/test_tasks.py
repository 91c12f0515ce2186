import math

import numpy as np
import pytest
import torch
from transformers import XLMRobertaConfig
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaClassificationHead

from langmod.encoding import TextEncoder
from langmod.errors import BadRequest, NoMaskToken
from langmod.tasks import TASKS, Example, HeadTask, Task
from langmod.tasks.base import IGNORED
from langmod.tasks.fill_mask import Candidate, candidates_needed
from tests.langmod.tokenizers_ import FAMILIES

LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


@pytest.fixture(params=sorted(FAMILIES))
def encoder(request, tmp_path):
    tokenizer, base = FAMILIES[request.param]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return TextEncoder(tmp_path / "tokenizer.json", base)


def test_a_kind_is_registered_once():
    assert {"fill_mask", "classify", "tag"} <= TASKS.keys()
    with pytest.raises(TypeError, match="two tasks of kind 'tag'"):
        type("Other", (Task,), {"kind": "tag"})


def heads():
    return [task for task in TASKS.values() if isinstance(task, HeadTask)]


def tensors_of(task, rows, width, classes, generator):
    sizes = {f"C.task.{task.kind}": classes}
    return {
        bank.name.removeprefix(f"task.{task.kind}."): torch.randn(
            rows, *(sizes.get(axis, axis) for axis in bank.row_shape), generator=generator
        )
        for bank in task.head_banks(width)
    }


@pytest.mark.parametrize("task", heads(), ids=lambda task: task.kind)
def test_every_row_of_a_batch_has_its_own_head(task):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 5, 8, generator=generator)
    pool = torch.full((3, 5), 0.2)
    tensors = tensors_of(task, 3, 8, 4, generator)
    together = task.head(hidden, pool, tensors)
    assert together.shape[-1] == 4
    for row in range(3):
        own = {name: tensor[row : row + 1] for name, tensor in tensors.items()}
        alone = task.head(hidden[row : row + 1], pool[row : row + 1], own)
        torch.testing.assert_close(together[row : row + 1], alone)
        one_for_all = task.head(hidden, pool, own)
        torch.testing.assert_close(one_for_all[row], together[row])
    assert (together[0] - together[1]).abs().max() > 0.1


def test_the_classification_head_is_that_of_xlm_r():
    config = XLMRobertaConfig(hidden_size=8, num_labels=3, hidden_dropout_prob=0.0)
    reference = XLMRobertaClassificationHead(config).eval()
    hidden = torch.randn(2, 5, 8)
    pool = torch.zeros(2, 5)
    pool[:, 0] = 1
    tensors = {
        "dense_weight": reference.dense.weight.T[None],
        "dense_bias": reference.dense.bias[None],
        "out_weight": reference.out_proj.weight.T[None],
        "out_bias": reference.out_proj.bias[None],
    }
    got = TASKS["classify"].head(hidden, pool, tensors)
    torch.testing.assert_close(got, reference(hidden), atol=1e-6, rtol=0)


def example(encoder, text, kind, labels=(), top_k=2):
    return Example(text, TASKS[kind].encode(encoder, text), encoder, labels, top_k)


def test_classes_come_with_probabilities_the_likeliest_first(encoder):
    row = example(encoder, ("a", "b"), "classify", ("no", "yes", "maybe"))
    answer = TASKS["classify"].decode({"logits": np.log([0.2, 0.7, 0.1])}, row)
    assert answer.label == "yes"
    assert [each.label for each in answer.labels] == ["yes", "no", "maybe"]
    assert [each.score for each in answer.labels] == pytest.approx([0.7, 0.2, 0.1])
    assert TASKS["classify"].targets("maybe", row.encoded, row.labels) == 2


def test_classification_scores():
    scores = TASKS["classify"].score(["a", "b", "b", "b"], ["a", "b", "b", "a"])
    assert scores == pytest.approx({"accuracy": 0.75, "macro_f1": (2 / 3 + 4 / 5) / 2})


TAGGED = [
    ("Улаанбаатар хот", [(0, 11, "LOC")]),
    ("대한민국의 수도는 서울이다.", [(0, 4, "LOC"), (10, 12, "LOC")]),
    ("Қазақстанның астанасы", [(0, 9, "LOC")]),
    ("the capital of Mongolia", [(4, 11, "PER"), (15, 23, "LOC")]),
    ("Mongolia Mongolia", [(0, 8, "LOC"), (9, 17, "LOC")]),
    ("  Mongolia  ", [(2, 10, "LOC")]),
    ("nothing here", []),
]


@pytest.mark.parametrize(("text", "spans"), TAGGED)
def test_spans_survive_the_way_to_labels_and_back(encoder, text, spans):
    """Exactly where tokens end with the span; else out to the end of the token."""
    row = example(encoder, text, "tag", LABELS)
    targets = TASKS["tag"].targets(spans, row.encoded, LABELS)
    assert (targets[row.encoded.special] == IGNORED).all()
    logits = np.full((len(targets), len(LABELS)), math.log(0.025))
    logits[np.arange(len(targets)), targets.clip(0)] = math.log(0.9)
    answers = TASKS["tag"].decode({"logits": logits}, row).spans
    assert [each.label for each in answers] == [label for *_, label in spans]
    for answer, (start, end, _) in zip(answers, spans, strict=True):
        assert answer.text == text[answer.start : answer.end]
        assert answer.start == start
        ends = {int(stop) for at, stop in row.encoded.offsets if at < end <= stop}
        assert answer.end in {end, *ends}
        assert 0.9 <= answer.score <= 1


def decoded(encoder, text, kinds):
    row = example(encoder, text, "tag", LABELS)
    inside = np.flatnonzero(~row.encoded.special)
    logits = np.zeros((len(row.encoded), len(LABELS)))
    for token in inside:
        start, end = row.encoded.offsets[token]
        word = text[:end].split()[-1] if text[:end].split() else ""
        first = not text[:start].strip() or text[start].isspace() or text[start - 1].isspace()
        label = kinds(word, first)
        logits[token, LABELS.index(label)] = 9
    answer = TASKS["tag"].decode({"logits": logits}, row)
    return [(each.text, each.label) for each in answer.spans]


def test_a_beginning_inside_a_word_does_not_cut_it(encoder):
    assert decoded(encoder, "Ulaanbaatar capital", lambda *_: "B-LOC") == [
        ("Ulaanbaatar", "LOC"),
        ("capital", "LOC"),
    ]


def test_an_inside_without_a_beginning_is_a_span(encoder):
    assert decoded(encoder, "Ulaanbaatar capital", lambda *_: "I-LOC") == [
        ("Ulaanbaatar capital", "LOC")
    ]


def test_another_label_cuts(encoder):
    spans = decoded(
        encoder, "Ulaanbaatar capital", lambda word, _: "I-LOC" if word[0] == "U" else "I-PER"
    )
    assert spans == [("Ulaanbaatar", "LOC"), ("capital", "PER")]


def test_span_scores_count_whole_spans_with_their_label():
    truths = [[(0, 3, "LOC"), (3, 6, "LOC")], [(5, 9, "PER")], []]
    guesses = [[(0, 3, "LOC"), (3, 5, "LOC")], [(5, 9, "LOC")], []]
    scores = TASKS["tag"].score(guesses, truths)
    assert scores == pytest.approx({"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3})
    assert TASKS["tag"].score(truths, truths)["f1"] == 1


def test_each_mask_is_filled_in_the_text_as_given(encoder):
    mask = encoder.base.mask_token
    text = f"The  {mask} of {mask}."
    row = example(encoder, text, "fill_mask")
    pieces = {each: encoder.piece(each) for each in range(encoder.vocabulary)}
    whole = next(
        each
        for each, (word, begins) in pieces.items()
        if begins and word.isalpha() and each not in encoder.control_ids
    )
    inner = next(each for each, (word, begins) in pieces.items() if not begins and word == "a")
    word, control = pieces[whole][0], encoder.base.eos_id
    outputs = {
        "scores": np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]),
        "tokens": np.array([[whole, control, inner], [control, inner, whole]]),
    }
    masks = TASKS["fill_mask"].decode(outputs, row).masks
    assert [len(each) for each in masks] == [2, 2]
    first = Candidate(token=word, score=0.5, text=f"The {word} of {mask}.")
    assert masks[0][0] == first
    assert masks[0][1].text == f"Thea of {mask}."
    assert masks[1][1].text == f"The  {mask} of {word}."
    assert candidates_needed(encoder, 2) >= 2 + len(encoder.control_ids)


def test_a_text_without_a_mask_is_refused(encoder):
    with pytest.raises(NoMaskToken, match=r"write .* where a word is missing"):
        TASKS["fill_mask"].encode(encoder, "the capital")
    with pytest.raises(BadRequest, match="single texts, got a pair"):
        TASKS["fill_mask"].encode(encoder, ("a", "b"))


def test_fill_mask_scores():
    scores = TASKS["fill_mask"].score([["a", "b"], ["c", "d"], ["e"]], ["a", "d", "x"])
    assert scores == pytest.approx({"accuracy": 1 / 3, "accuracy_at_5": 2 / 3})
