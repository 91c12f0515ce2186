"""The quick way to train gives the losses and gradients of the plain way."""

import pytest
import torch
from torch.nn import functional

from tests.adaptation.models import VOCABULARY, bert, m2m100, xlmr
from training.data.packing import IGNORED
from training.loop.trainer import Optimisation, SparseTrainer, arguments
from training.loop.vocabulary_loss import PART, VocabularyLoss

FP32, BF16 = 1e-5, 2e-2
"""Largest difference of a gradient, as a part of the gradient's largest entry."""


def near(found, expected, part):
    assert found.dtype == expected.dtype
    assert (found - expected).abs().max() <= part * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("biased", [True, False])
def test_the_loss_in_parts_is_the_cross_entropy(dtype, smoothing, biased, monkeypatch):
    monkeypatch.setitem(PART, "cpu", 3 * 50)  # several parts, the last one shorter
    torch.manual_seed(3)
    leaves = [torch.randn(11, 8), torch.randn(50, 8), torch.randn(50) if biased else None]
    leaves = [None if each is None else each.requires_grad_() for each in leaves]
    labels = torch.randint(50, (11,))
    found = []
    for parts in (True, False):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            if parts:
                loss = VocabularyLoss.apply(*leaves, (labels, smoothing))
            else:
                logits = functional.linear(*leaves).float()
                loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        given = [each for each in leaves if each is not None]
        found.append([loss.detach(), *torch.autograd.grad(3 * loss, given)])
    tolerance = FP32 if dtype == torch.float32 else BF16
    assert found[0][0] == pytest.approx(float(found[1][0]), rel=tolerance / 10)
    for mine, theirs in zip(found[0][1:], found[1][1:], strict=True):
        near(mine, theirs, tolerance)


def test_frozen_words_get_no_gradient():
    hidden, words = torch.randn(4, 8, requires_grad=True), torch.randn(20, 8)
    asked = (torch.tensor([1, 2, 3, 4]), 0.0)
    loss = VocabularyLoss.apply(hidden, words, None, asked)
    loss.backward()
    assert hidden.grad.abs().max() > 0
    assert words.grad is None
    with torch.no_grad():
        again = VocabularyLoss.apply(hidden, words, None, asked)
    assert again == loss


def batch(kind):
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, VOCABULARY - 1, (3, 12), generator=generator)
    ids[0, 9:] = 1
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) < 0.6, IGNORED)
    given = {"input_ids": ids, "attention_mask": (ids != 1).long()}
    extra = {"decoder_input_ids": ids.roll(1, 1)} if kind == "translator" else {}
    return given | extra | {"labels": labels.masked_fill(ids == 1, IGNORED)}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("make", [xlmr, bert, m2m100])
def test_a_step_gives_the_plain_gradients(make, bf16, tmp_path):
    """Against Hugging Face's own loss from logits at every position."""
    architecture = make()
    model = architecture.model.eval()  # no dropout
    settings = Optimisation(steps=1, batch_size=3, learning_rate=1e-3, bf16=False)
    trainer = SparseTrainer(
        model, architecture.vocabulary_head(), vocabulary=architecture.vocabulary,
        tail=architecture.tail, args=arguments(tmp_path, settings),
    )  # fmt: skip
    given, found = batch(architecture.kind), []
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for loss in (trainer.compute_loss(model, given), model(**given).loss):
            model.zero_grad()
            loss.backward()
            grads = {name: each.grad.clone() for name, each in model.named_parameters()}
            found.append((loss.item(), grads))
    (mine, own), (plain, theirs) = found
    tolerance = BF16 if bf16 else FP32
    assert mine == pytest.approx(plain, rel=tolerance)
    assert max(float(each.abs().max()) for each in theirs.values()) > 1e-3
    largest = max(each.abs().max() for each in theirs.values())
    for name, each in theirs.items():
        assert (own[name] - each).abs().max() <= tolerance * largest, name
    assert model(**{k: v for k, v in given.items() if k != "labels"}).logits.dim() == 3
