"""A discriminator that tells languages apart in the middle, and an encoder that hinders it.

By gradient reversal (Ganin et al. 2016, arXiv 1505.07818), or as a Wasserstein critic (Arjovsky et
al. 2017; ADAN, Chen et al. 2018, arXiv 1606.01614) bounded by clipped weights or by a penalty on
its gradient (Gulrajani et al. 2017).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from langmod.config import Frozen
from training.objectives.middle import Objective, Seen, sentence_rows

DECAY, EPSILON = 0.9, 1e-8
"""Decay and floor of the critic's mean of squared gradients: Adam without momentum, as Gulrajani et
al. have it."""


class AdversarySettings(Frozen):
    """How languages are made alike."""

    kind: Literal["reversal", "wasserstein"] = "reversal"
    strength: float = 0.2
    """Strength of what reaches the encoder, at the end of the ramp."""
    ramp_from: float = 0.1
    """Part of the steps before which nothing reaches the encoder: the discriminator goes first."""
    bound: Literal["clip", "penalty"] = "clip"
    """Critic: what keeps it smooth."""
    clip: float = 0.01
    penalty: float = 10.0
    critic_steps: int = 5
    critic_rate: float = 5.0e-4


def ramp(progress: float, start: float) -> float:
    """0 until ``start``, then ``2 / (1 + exp(-10 p)) - 1`` of what is left of the run."""
    part = max(0.0, progress - start) / (1 - start)
    return 2 / (1 + math.exp(-10 * part)) - 1


class Reversed(torch.autograd.Function):
    """The identity, whose gradient comes back turned round."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, strength: float) -> Tensor:
        """The value itself."""
        ctx.strength = strength
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """``-strength`` times the gradient."""
        return -ctx.strength * gradients[0], None


def perceptron(width: int, languages: int) -> nn.Sequential:
    """Two layers, ``[N, D]`` → ``[N, languages]``."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, languages))


class Reversal(Objective):
    """Discriminator and encoder in one pass: the former learns what the latter unlearns."""

    def __init__(self, settings: AdversarySettings, width: int, languages: int) -> None:
        super().__init__()
        self.settings = settings
        self.discriminator = perceptron(width, languages)
        self.said = {}

    def forward(self, seen: Seen) -> Tensor:
        """The discriminator's cross entropy."""
        strength = self.settings.strength * ramp(seen.progress, self.settings.ramp_from)
        rows, languages = sentence_rows(seen.middle, seen.batch)  # [N, D], [N]
        logits = self.discriminator(Reversed.apply(rows, strength))  # [N, K]
        right = (logits.argmax(-1) == languages).float().mean()
        self.said = {"discriminator_accuracy": float(right), "strength": strength}
        return functional.cross_entropy(logits.float(), languages)


def distance(scores: Tensor, languages: Tensor) -> Tensor:
    """What a critic's scores ``[N, K]`` hold languages ``[N]`` apart by, mean over their pairs.

    The function of a pair is the difference of its two columns; its distance the difference of that
    function's means over the rows of either.
    """
    there = languages.unique()
    means = torch.stack([scores[languages == each].mean(0)[there] for each in there])  # [K, K]
    own = means.diagonal()
    apart = own.unsqueeze(0) + own.unsqueeze(1) - means - means.t()  # [K, K], its diagonal 0
    return apart.sum() / max(1, len(there) * (len(there) - 1))


class Critic(Objective):
    """The Wasserstein variant: the critic takes steps of its own before the encoder takes one.

    Its weights are no parameters of the run and its optimiser is kept in buffers, so that
    checkpoints hold both and the encoder's optimiser neither.
    """

    def __init__(self, settings: AdversarySettings, width: int, languages: int) -> None:
        super().__init__()
        self.settings = settings
        self.critic = perceptron(width, languages).requires_grad_(False)
        for name, weight in self.critic.named_parameters():
            self.register_buffer(_square(name), torch.zeros_like(weight))
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))
        self.said = {}

    taken: Tensor

    def forward(self, seen: Seen) -> Tensor:
        """The weighted distance, which the encoder lowers."""
        strength = self.settings.strength * ramp(seen.progress, self.settings.ramp_from)
        rows, languages = sentence_rows(seen.middle, seen.batch)  # [N, D], [N]
        with torch.autocast(rows.device.type, enabled=False):
            if self.training:
                for _ in range(self.settings.critic_steps):
                    self.learn(rows.detach(), languages)
            scores = self.critic(rows)  # [N, K]
            found = distance(scores, languages)
        right = (scores.argmax(-1) == languages).float().mean()
        self.said = {"distance": float(found.detach()), "strength": strength}
        self.said["discriminator_accuracy"] = float(right)
        return strength * found

    def learn(self, rows: Tensor, languages: Tensor) -> None:
        """One step of the critic, equal in all processes."""
        with torch.enable_grad():
            weights = {
                name: each.detach().requires_grad_()
                for name, each in self.critic.named_parameters()
            }
            loss = -distance(functional_call(self.critic, weights, (rows,)), languages)
            if self.settings.bound == "penalty":
                loss = loss + self.settings.penalty * self._steepness(weights, rows, languages)
            found = torch.autograd.grad(loss, list(weights.values()))
        self.taken += 1
        for (name, weight), slope in zip(
            self.critic.named_parameters(), _shared(found), strict=True
        ):
            self._update(weight, self.get_buffer(_square(name)), slope)

    def _update(self, weight: Tensor, square: Tensor, slope: Tensor) -> None:
        square.mul_(DECAY).addcmul_(slope, slope, value=1 - DECAY)
        mean = square / (1 - DECAY ** int(self.taken))
        weight.data.addcdiv_(slope, mean.sqrt() + EPSILON, value=-self.settings.critic_rate)
        if self.settings.bound == "clip":
            weight.data.clamp_(-self.settings.clip, self.settings.clip)

    def _steepness(self, weights: Mapping[str, Tensor], rows: Tensor, languages: Tensor) -> Tensor:
        """How far the gradient's length is from 1, between rows of different languages."""
        other = torch.randperm(len(rows), device=rows.device)
        share = torch.rand(len(rows), 1, device=rows.device)
        between = (share * rows + (1 - share) * rows[other]).requires_grad_()  # [N, D]
        scores = functional_call(self.critic, dict(weights), (between,))  # [N, K]
        pairs = scores.gather(1, torch.stack([languages, languages[other]], 1))  # [N, 2]
        apart = languages != languages[other]
        (slopes,) = torch.autograd.grad(
            (pairs[:, 0] - pairs[:, 1]).sum(), between, create_graph=True
        )
        lengths = slopes[apart].norm(dim=1)
        return ((lengths - 1) ** 2).sum() / max(1, len(lengths))


def _square(name: str) -> str:
    return f"square_{name.replace('.', '_')}"


def _shared(found: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Gradients as the mean over all processes."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    for each in found:
        if several:
            torch.distributed.all_reduce(each)
            each.div_(torch.distributed.get_world_size())
        yield each


ADVERSARIES: Mapping[str, type[Reversal] | type[Critic]] = {
    "reversal": Reversal,
    "wasserstein": Critic,
}
