"""Cross entropy over a large vocabulary in parts: the logits never lie in memory as a whole.

Eager torch holds logits, their fp32 copy, the log-softmax and its gradient, ``[N, V]`` each, and on
a CPU spends more time on moving them than on the product. Here loss and gradients of a part of
the rows are made while its logits are in the processor's cache.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PART = {"cpu": 2**20, "cuda": 2**26}
"""Logits at a time, by kind of device."""


class VocabularyLoss(torch.autograd.Function):
    """Mean cross entropy in nats of ``hidden @ weight.T + bias``; gradients made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        asked: tuple[Tensor, float],
    ) -> Tensor:
        """``hidden [N, D]``, ``weight [V, D]``, ``bias [V]``; labels ``[N]``, smoothing → a scalar.

        Products have the type that autocast asks for, sums over the vocabulary are fp32.
        """
        labels, smoothing = asked
        kind = hidden.device.type
        autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else hidden.dtype
        with torch.autocast(kind, enabled=False):
            few, words = hidden.to(dtype), weight.to(dtype)  # [N, D], [V, D]
            shift = None if bias is None else bias.to(dtype)  # [V]
            slopes = few.new_empty(len(few), len(words))  # [N, V]
            loss = hidden.new_zeros((), dtype=torch.float32)
            rows = max(1, PART.get(kind, PART["cuda"]) // len(words))
            for part in torch.arange(len(few)).split(rows):
                here = slice(int(part[0]), int(part[-1]) + 1)
                logits = functional.linear(few[here], words, shift).float()  # [rows, V]
                loss += _loss_in_place(logits, labels[here], smoothing)
                slopes[here] = logits.div_(len(few))
            ctx.types = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
            ctx.save_for_backward(*_gradients(ctx.needs_input_grad, slopes, few, words))
        return loss / len(few)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scales what the forward made."""
        found = [None if made is None else made.mul_(gradients[0]) for made in ctx.saved_tensors]
        typed = [
            None if made is None else made.to(dtype)
            for made, dtype in zip(found, ctx.types, strict=True)
        ]
        return (*typed, None)


def _loss_in_place(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Summed loss of some rows; their logits ``[rows, V]`` become its gradient."""
    places = labels.unsqueeze(1)  # [rows, 1]
    top = logits.amax(1, keepdim=True)  # [rows, 1]
    logits -= top
    gold = logits.gather(1, places).sum()
    mean = logits.mean(1).sum() if smoothing else gold
    logits.exp_()
    total = logits.sum(1, keepdim=True)  # [rows, 1]
    logits /= total
    if smoothing:
        logits -= smoothing / logits.shape[1]
    logits.scatter_add_(1, places, logits.new_full(places.shape, smoothing - 1))
    return total.log().sum() - (1 - smoothing) * gold - smoothing * mean


def _gradients(
    needed: tuple[bool, ...], slopes: Tensor, hidden: Tensor, words: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of hidden states, weight and bias, from the logits' ``[N, V]``, where needed."""
    return (
        slopes @ words if needed[0] else None,  # [N, D]
        (slopes.t() @ hidden).float() if needed[1] else None,  # [V, D]
        slopes.sum(0, dtype=torch.float32) if needed[2] else None,  # [V]
    )


class LossInHead:
    """Makes a vocabulary's linear give the loss of given labels in place of logits.

    The hooks sit on the linear, so the model's own forward (and DDP around it) stays as it is.
    """

    def __init__(self, vocabulary: nn.Module, smoothing: float) -> None:
        """``vocabulary`` is the linear from ``[N, D]`` to ``[N, V]``."""
        self.labels: Tensor | None = None
        self.smoothing = smoothing
        self._hidden: Tensor | None = None
        vocabulary.register_forward_pre_hook(self._before)
        vocabulary.register_forward_hook(self._after)

    def _before(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Leaves one row for the linear itself, whose product is not used."""
        if self.labels is None:
            return None
        self._hidden = inputs[0]  # [N, D]
        return (inputs[0][:1], *inputs[1:])

    def _after(self, vocabulary: nn.Module, _: object, logits: Tensor) -> Tensor:
        if self.labels is None or self._hidden is None:
            return logits
        hidden, self._hidden = self._hidden, None
        smoothing = self.smoothing if vocabulary.training else 0.0
        loss: Tensor = VocabularyLoss.apply(
            hidden, vocabulary.weight, vocabulary.bias, (self.labels, smoothing)
        )
        return loss
