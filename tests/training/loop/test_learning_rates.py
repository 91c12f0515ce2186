"""Discriminative learning rates: who learns at which; off unless asked for."""

import math

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.optim import AdamW

from adaptation.architectures import load_base
from tests.adaptation.models import bert, m2m100, xlmr
from tests.bases import make_base
from tests.training.runs import QUICK, module_config
from training.loop.learning_rates import apply_factors, layer_factors
from training.loop.trainer import Optimisation, arguments
from training.modules.module import train_module


def factors_by_name(architecture, decay, groups):
    found = layer_factors(architecture, decay, groups)
    return {
        name: found.get(parameter, 1.0) for name, parameter in architecture.model.named_parameters()
    }


def test_each_group_learns_at_a_part_of_the_one_above_it():
    """Six layers in three groups of two, by hand; the word vectors are the vocabulary's too."""
    found = factors_by_name(xlmr(num_hidden_layers=6), 0.5, 3)
    layers = [found[f"roberta.encoder.layer.{n}.output.dense.weight"] for n in range(6)]
    assert layers == [0.125, 0.125, 0.25, 0.25, 0.5, 0.5]
    embeddings = {found[name] for name in found if ".embeddings." in name}
    assert embeddings == {0.5**4}
    assert {found[name] for name in found if name.startswith("lm_head")} == {1.0}


def test_the_sources_six_rates():
    """16 layers in groups of four: embeddings r^5, then r^4 up to r, the head at the full rate."""
    found = factors_by_name(xlmr(num_hidden_layers=16), 0.7, 4)
    rates = sorted({round(each, 9) for each in found.values()})
    assert rates == [round(0.7**n, 9) for n in (5, 4, 3, 2, 1, 0)]
    assert found["roberta.encoder.layer.3.attention.self.query.bias"] == 0.7**4
    assert found["roberta.encoder.layer.4.attention.self.query.bias"] == 0.7**3


@pytest.mark.parametrize("make", [bert, m2m100])
def test_every_family_has_its_layers_and_embeddings_found(make):
    found = factors_by_name(make(), 0.5, 2)
    layers = {found[name] for name in found if ".layer.0." in name or ".layers.0." in name}
    assert layers == {0.25}
    words = [name for name in found if "word_embeddings" in name or name == "model.shared.weight"]
    assert words
    assert {found[name] for name in words} == {0.125}


def test_groups_of_an_optimizer_keep_all_but_their_rate():
    architecture = xlmr()
    parameters = list(architecture.model.parameters())
    optimizer = AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=1e-2,
    )
    factors = layer_factors(architecture, 0.5, 2)
    apply_factors(optimizer, factors)
    seen = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(seen) == len(parameters)
    assert set(seen) == set(parameters)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["lr"] == pytest.approx(1e-2 * factors.get(parameter, 1.0))
            assert group["weight_decay"] == (0.1 if parameter.dim() > 1 else 0.0)
    assert optimizer.param_groups[0]["lr"] == 1e-2, "the rate that is logged is the full one"


def test_a_step_of_adam_is_as_long_as_its_rate():
    """Adam's first step is the rate, whatever the gradient."""
    architecture = xlmr()
    optimizer = AdamW(architecture.model.parameters(), lr=1e-3, weight_decay=0.0, eps=1e-30)
    apply_factors(optimizer, layer_factors(architecture, 0.1, 2))
    before = {name: each.clone() for name, each in architecture.model.named_parameters()}
    for parameter in architecture.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {
        name: (before[name] - each).mean().item()
        for name, each in architecture.model.named_parameters()
    }
    assert moved["lm_head.dense.bias"] == pytest.approx(1e-3, rel=1e-2)
    assert moved["roberta.encoder.layer.1.output.dense.bias"] == pytest.approx(1e-4, rel=1e-2)
    assert moved["roberta.encoder.layer.0.output.dense.bias"] == pytest.approx(1e-5, rel=1e-2)


def test_a_run_learns_at_its_rates(small_corpus, tmp_path):
    make_base(tmp_path / "nano", "encoder")
    before = load_base(tmp_path / "nano").model.state_dict()
    moved = {}
    for decay in (1.0, 0.01):
        config = module_config(
            tmp_path, tmp_path / "nano", f"decay-{decay}", language="mn", corpus=small_corpus,
            train="base", keep=True, score=False, optimisation=QUICK | {"layer_decay": decay},
        )  # fmt: skip
        train_module(config)
        kept = load_file(config.out / "base" / "model.safetensors")
        moved[decay] = {
            name: float((kept[name].float() - before[name]).abs().max())
            for name in ("lm_head.dense.weight", "roberta.encoder.layer.0.output.dense.weight")
        }
        assert not (config.out / "scores.json").exists(), "score=false"
    head, layer = moved[1.0].keys()
    assert moved[0.01][head] > moved[1.0][head] / 2
    # Kept in halves, whose steps are longer than the slow layer's.
    assert moved[0.01][layer] < moved[1.0][layer] / 5


def test_both_options_are_off_unless_asked_for(tmp_path):
    plain = Optimisation(steps=100, batch_size=1, learning_rate=1.0, warmup=0.0)
    assert plain.factors(xlmr()) == {}
    assert layer_factors(xlmr(), 1.0, 4) == {}
    for schedule, half in (("linear", 0.25), ("cosine", (1 + math.cos(math.pi * 0.75)) / 2)):
        settings = plain.model_copy(update={"schedule": schedule})
        assert rate_after(arguments(tmp_path, settings), 75) == pytest.approx(half, abs=1e-6)
    assert rate_after(arguments(tmp_path, plain), 75) == pytest.approx(0.25)


def rate_after(args, steps):
    """The rate of the Trainer's own schedule."""
    from transformers import get_scheduler

    optimizer = AdamW([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
    schedule = get_scheduler(
        args.lr_scheduler_type, optimizer, args.get_warmup_steps(args.max_steps), args.max_steps
    )
    for _ in range(steps):
        optimizer.step()
        schedule.step()
    return schedule.get_last_lr()[0]


@pytest.mark.parametrize("wrong", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"layer_groups": 0}])
def test_wrong_rates_are_refused(wrong):
    with pytest.raises(ValidationError):
        Optimisation(steps=1, batch_size=1, learning_rate=1.0, **wrong)
