"""Objectives beside masked language modelling, each against a closed form or the plain model."""

import math

import pytest
import torch

from langmod.errors import ConfigError
from tests.adaptation.models import bert, xlmr
from training.objectives.adversary import (
    AdversarySettings,
    Critic,
    Reversal,
    Reversed,
    distance,
    ramp,
)
from training.objectives.contrast import Contrast, ContrastSettings, info_nce
from training.objectives.middle import LowerHalf, Seen, middle_of, pooled, sentence_rows


@pytest.mark.parametrize("make", [xlmr, bert])
def test_the_lower_half_is_what_the_model_itself_has_there(make):
    base = make()
    ids = torch.tensor([[5, 9, 7, 1], [8, 6, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    with torch.no_grad():
        found = LowerHalf.of(base, 1)(ids, mask)
        states = base.model(ids, mask, output_hidden_states=True).hidden_states
    assert (states[1] - states[2]).abs().max() > 0.1
    real = mask.bool()
    torch.testing.assert_close(found[real], states[1][real], atol=1e-5, rtol=1e-5)


def test_the_middle_has_layers_on_both_sides():
    base = xlmr(num_hidden_layers=6)
    assert middle_of(base) == 3
    assert middle_of(base, 5) == 5
    with pytest.raises(ConfigError, match=r"middle is 6; allowed: 1 to 5 of 6 layers"):
        middle_of(base, 6)


def test_pooled_rows_are_means_of_their_own_tokens():
    hidden = torch.randn(2, 3, 4)
    means = pooled(hidden, torch.tensor([[1, 1, 0], [1, 1, 1]]))
    torch.testing.assert_close(means[0], hidden[0, :2].mean(0))
    torch.testing.assert_close(means[1], hidden[1].mean(0))


def test_sentences_of_blocks_are_rows_and_mixed_blocks_are_none():
    hidden = torch.randn(3, 5, 4)
    sentences = torch.tensor([[-1, 0, 0, -1, 1], [-1, 0, 0, 0, -1], [-1, 0, 0, 1, 1]])
    batch = {"sentences": sentences, "languages": torch.tensor([2, -1, 0])}
    rows, languages = sentence_rows(hidden, batch)
    assert languages.tolist() == [2, 2, 0, 0]
    expected = [hidden[0, 1:3].mean(0), hidden[0, 4], hidden[2, 1:3].mean(0), hidden[2, 3:].mean(0)]
    torch.testing.assert_close(rows, torch.stack(expected))


def test_info_nce_of_two_pairs():
    """Partners at cosine 1, others at 0: each way log(1 + exp(-1 / t))."""
    sides = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    found = info_nce(sides, sides * 2, 0.5)
    assert float(found) == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)
    turned = info_nce(sides, sides.flip(0), 0.5)
    assert float(turned) == pytest.approx(2 + math.log(1 + math.exp(-2)), abs=1e-6)


def test_the_anchor_is_zero_until_the_model_moves():
    base = xlmr()
    objective = Contrast(ContrastSettings(weight=0.0), base, 1)
    ids = torch.tensor([[5, 9, 7], [8, 6, 4]])
    sides = {f"{side}_{what}": each for side in ("left", "right")
             for what, each in (("ids", ids), ("mask", torch.ones_like(ids)))}  # fmt: skip
    seen = Seen(torch.zeros(1), sides, 0.5)
    assert objective(seen).item() == pytest.approx(0, abs=1e-10)
    assert not list(objective.parameters())
    bias = base.towers()[0].layers[0].output.LayerNorm.bias
    bias.data += 0.5
    moved = objective(seen)
    assert float(moved) == pytest.approx(0.25, rel=1e-4)
    moved.backward()
    assert bias.grad.abs().sum() > 0


def test_a_reversed_gradient_is_turned_and_scaled():
    value = torch.tensor([1.0, -2.0], requires_grad=True)
    out = Reversed.apply(value, 0.3)
    torch.testing.assert_close(out, value)
    (out * torch.tensor([2.0, 5.0])).sum().backward()
    torch.testing.assert_close(value.grad, torch.tensor([-0.6, -1.5]))


def test_the_ramp_starts_late_and_ends_near_one():
    assert ramp(0.1, 0.1) == ramp(0.0, 0.1) == 0
    assert ramp(0.55, 0.1) == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert ramp(1.0, 0.1) == pytest.approx(1, abs=1e-4)
    assert ramp(0.3, 0.1) < ramp(0.4, 0.1)


def blocks(rows: torch.Tensor, languages: list[int]) -> Seen:
    """Blocks of one token each, so that rows are what is seen."""
    batch = {"sentences": torch.zeros(len(rows), 1, dtype=torch.long),
             "languages": torch.tensor(languages)}  # fmt: skip
    return Seen(rows.unsqueeze(1), batch, 1.0)


def test_reversal_teaches_the_discriminator_and_hinders_the_encoder():
    torch.manual_seed(0)
    objective = Reversal(AdversarySettings(strength=0.5), 4, 2)
    rows = torch.randn(8, 4).requires_grad_()
    seen = blocks(rows, [0, 1] * 4)
    objective(seen).backward()
    logits = objective.discriminator(plain := rows.detach().requires_grad_())
    loss = torch.nn.functional.cross_entropy(logits, seen.batch["languages"])
    own = torch.autograd.grad(loss, [plain, objective.discriminator[0].weight])
    torch.testing.assert_close(rows.grad, -0.5 * ramp(1.0, 0.1) * own[0])
    torch.testing.assert_close(objective.discriminator[0].weight.grad, own[1])
    assert 0 <= objective.said["discriminator_accuracy"] <= 1


def test_distance_is_the_mean_over_pairs_of_languages():
    scores = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 4.0, 2.0], [0.0, 0.0, 5.0]])
    languages = torch.tensor([0, 0, 1, 2])
    means = torch.stack([scores[:2].mean(0), scores[2], scores[3]])
    pairs = [
        (means[k, k] - means[k, m]) - (means[m, k] - means[m, m])
        for k, m in ((0, 1), (0, 2), (1, 2))
    ]
    assert float(distance(scores, languages)) == pytest.approx(float(sum(pairs) / 3))
    assert float(distance(scores[:2], languages[:2])) == 0
    apart = distance(scores[[0, 2]], languages[[0, 2]])
    assert float(apart) == pytest.approx(5.0), "a language that is missing counts for nothing"


@pytest.mark.parametrize("bound", ["clip", "penalty"])
def test_a_critic_learns_by_itself_within_its_bound(bound):
    torch.manual_seed(0)
    settings = AdversarySettings(kind="wasserstein", bound=bound, critic_rate=5e-3, strength=0.1)
    objective = Critic(settings, 4, 2)
    assert not [each for each in objective.parameters() if each.requires_grad]
    shift = torch.tensor([2.0, 0.0, 0.0, 0.0])
    rows = torch.randn(32, 4) + torch.arange(2).repeat(16).unsqueeze(1) * shift
    seen = blocks(rows.requires_grad_(), [0, 1] * 16)
    for each in objective.critic.parameters():
        each.data.clamp_(-settings.clip, settings.clip)
    objective.eval()(seen)
    before = objective.said["distance"]
    objective.train()
    for _ in range(60):
        found = objective(seen)
    assert int(objective.taken) == 300
    assert objective.said["distance"] > max(2 * before, 5e-4)
    found.backward()
    assert rows.grad.abs().sum() > 0
    largest = max(float(each.abs().max()) for each in objective.critic.parameters())
    if bound == "clip":
        assert largest <= 0.01 + 1e-6
    else:
        assert largest > 0.01
        assert objective.said["distance"] == pytest.approx(2.0, abs=0.7), "steepness is held near 1"


def test_the_optimiser_of_a_critic_is_in_its_state():
    objective = Critic(AdversarySettings(kind="wasserstein"), 4, 2)
    other = Critic(AdversarySettings(kind="wasserstein"), 4, 2)
    rows, languages = torch.randn(8, 4), torch.tensor([0, 1] * 4)
    objective.learn(rows, languages)
    other.load_state_dict(objective.state_dict())
    for each in (objective, other):
        each.learn(rows, languages)
    for name, tensor in objective.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name])
    assert int(other.taken) == 2
