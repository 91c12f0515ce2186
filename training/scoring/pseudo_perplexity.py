"""How well a masked model knows a text: every token hidden once, scored from all the others.

Pseudo-perplexity (Salazar et al. 2020, arXiv 1910.14659) compares models of one vocabulary; bits
per byte compares across vocabularies. A token of a long word is easily guessed from the word's end,
so PLL-word-l2r (Kauf and Ivanova 2023, arXiv 2305.10588) hides the rest of its word too.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from adaptation.architectures import Architecture, EncoderArchitecture
from training.data.packing import IGNORED, Special
from training.loop.trainer import SparseHead

BATCH_TOKENS = 8192
UNKNOWN_SHARE = 1 / 256
"""The probability that a head that knows some pieces leaves to the others."""


@dataclass(frozen=True)
class Sentence:
    """A text and what a model reads of it."""

    text: str
    ids: list[int]
    """Without special tokens."""
    words: list[int] | None = None
    """Which word each token belongs to: what follows a token in its word is hidden with it. None:
    tokens are hidden one by one."""

    def hidden_until(self, place: int) -> int:
        """The end of what is hidden when the token at a place is scored."""
        end = place + 1
        while (
            self.words is not None and end < len(self.ids) and self.words[end] == self.words[place]
        ):
            end += 1
        return end


@dataclass(frozen=True)
class PseudoLikelihood:
    """Negative log-likelihood of some sentences, in nats."""

    nats: float
    tokens: int
    text_bytes: int

    @property
    def perplexity(self) -> float:
        """``exp`` of the mean over tokens."""
        return math.exp(self.nats / max(self.tokens, 1))

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of UTF-8."""
        return self.nats / math.log(2) / max(self.text_bytes, 1)


class Head(NamedTuple):
    """Where logits come from."""

    device: torch.device | str = "cpu"
    base: Architecture | None = None
    """The base whose own head gives them; None where the tokens are not the base's."""


def pseudo_likelihood(
    forward: Callable[[Tensor, Tensor], Tensor],
    sparse: SparseHead,
    sentences: Sequence["Sentence"],
    special: Special,
    head: Head | None = None,
) -> PseudoLikelihood:
    """Scores sentences.

    ``forward`` takes ids and mask ``[B, T]`` and returns the logits ``[N, V]`` of the positions
    that ``sparse`` has chosen, one in each row.
    """
    device, base = head or Head()
    nats, tokens = 0.0, 0
    for batch in _batches(sentences, special):
        ids, mask, places, truths = (each.to(device) for each in batch)
        sparse.chosen = functional.one_hot(places, ids.shape[1]).bool()
        try:
            with torch.no_grad():
                logits = forward(ids, mask)  # [B, V]
        finally:
            sparse.chosen = None
        nats += summed_nats(logits.float(), truths, base)
        tokens += len(truths)
    return PseudoLikelihood(nats, tokens, sum(len(each.text.encode()) for each in sentences))


def summed_nats(logits: Tensor, truths: Tensor, base: Architecture | None) -> float:
    """Sums nats of tokens ``[B]`` under logits ``[B, V]``, or ``[B, V']`` of some pieces alone.

    Such a head leaves a small part to all others, which are alike to it.
    """
    if not isinstance(base, EncoderArchitecture) or base.pieces is None:
        return float(functional.cross_entropy(logits, truths, reduction="sum"))
    places = base.places(truths, IGNORED)
    known = functional.cross_entropy(logits, places, ignore_index=IGNORED, reduction="sum")
    unknown = int((places == IGNORED).sum())
    others = base.model.config.vocab_size - len(base.pieces)
    shares = (len(truths) - unknown) * -math.log1p(-UNKNOWN_SHARE)
    return float(known) + shares + unknown * math.log(max(others, 1) / UNKNOWN_SHARE)


def _batches(
    sentences: Sequence["Sentence"], special: Special
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One row for each token of each sentence, rows of like length together."""
    rows = [
        (each.ids, place, each.hidden_until(place))
        for each in sorted(sentences, key=lambda each: len(each.ids))
        for place in range(len(each.ids))
    ]
    start = 0
    while start < len(rows):
        width = len(rows[start][0]) + 2
        batch = rows[start : start + max(1, BATCH_TOKENS // width)]
        start += len(batch)
        yield _masked(batch, special)


def _masked(
    batch: Sequence[tuple[list[int], int, int]], special: Special
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    framed = [torch.tensor([special.start, *ids, special.end]) for ids, _, _ in batch]
    ids = torch.nn.utils.rnn.pad_sequence(framed, batch_first=True, padding_value=special.pad)
    places = torch.tensor([place + 1 for _, place, _ in batch])  # [B]
    everyone = torch.arange(len(batch))
    truths = ids[everyone, places].clone()
    mask = (ids != special.pad).long()
    for row, (_, place, until) in enumerate(batch):
        ids[row, place + 1 : until + 1] = special.mask
    return ids, mask, places, truths
