"""The hypotheses of one sentence, from step to step: greedy, with beams, or drawn at random.

Pure numpy on the candidates of a decoder step; a search never sees the other rows of its batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.session import Array

SHORTEST = 2
"""Tokens of the shortest translation: the language token and one more."""
SPARE = 16
"""Successors that are looked at beside those wanted where some may be refused as repetitions."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn at random."""

    top_k: int
    """Only from so many of the likeliest; 1 is greedy."""
    temperature: float
    """Below 1 the likelier tokens are drawn more often than the base says, above 1 less often."""
    seed: tuple[int, ...]
    """Of this sentence's draws alone."""


@dataclass(frozen=True)
class SearchPlan:
    """What is searched for after one source sentence."""

    start_id: int
    target_id: int
    """The language token that is put after the start token."""
    eos_id: int
    max_length: int
    """Tokens after the start token, language token and end included; 2 or more."""
    beams: int = 1
    """Hypotheses side by side; in sampling the number of draws."""
    n_best: int = 1
    sampling: Sampling | None = None
    no_repeat_ngram: int = 0
    """No run of so many tokens is written twice; 0: any may be."""
    repetition_penalty: float = 1.0
    """The log-probability of a token written before is multiplied by this (Keskar et al. 2019,
    arXiv 1909.05858); 1: as it is."""

    @property
    def repeats_freely(self) -> bool:
        """Whether a token is as good the second time."""
        return self.no_repeat_ngram == 0 and self.repetition_penalty == 1

    @property
    def wanted(self) -> int:
        """How many successors of each hypothesis the search chooses from."""
        if self.sampling:
            return self.sampling.top_k
        # A beam may lose every first candidate to the end token and still needs as many to go on.
        return 1 if self.beams == 1 else 2 * self.beams

    @property
    def candidates(self) -> int:
        """How many successors of each hypothesis the search wants to see."""
        return self.wanted + (0 if self.repeats_freely else SPARE)


@dataclass(frozen=True)
class Hypothesis:
    """A finished translation."""

    token_ids: tuple[int, ...]
    """After the start token: the language token first, the end token last unless it was cut."""
    score: float
    """Sum of log-probabilities over the number of tokens, the forced language token being certain:
    Hugging Face's ``sequences_scores`` with a length penalty of 1."""


class Search(ABC):
    """One sentence's hypotheses: one until the language token is in, then as many as beams."""

    def __init__(self, plan: SearchPlan) -> None:
        self.plan = plan
        self.done = False
        self.tokens = [plan.start_id]
        """The last token of each hypothesis, what the next step reads."""
        self.parents = [0]
        """Which hypothesis of the step before each one continues."""
        self.sequences: list[tuple[int, ...]] = []

    def advance(self, scores: Array, tokens: Array) -> None:
        """Takes one step.

        Args:
            scores: ``[W, K]`` log-probabilities of the likeliest successors of each of W
                hypotheses, descending.
            tokens: ``[W, K]`` those successors.
        """
        if not self.sequences:
            # Whatever the base would say after the start token: the language token is given.
            self.tokens = [self.plan.target_id]
            self.sequences = [(self.plan.target_id,)]
            return
        if not self.plan.repeats_freely:
            scores, tokens = self._less_repeated(scores, tokens)
        count = self.plan.wanted
        self.extend(scores[:, :count], tokens[:, :count])

    def _less_repeated(self, scores: Array, tokens: Array) -> tuple[Array, Array]:
        """Successors in the order that repetitions leave them, as Hugging Face's processors do."""
        scores = scores[:, : self.plan.candidates].copy()
        tokens = tokens[:, : self.plan.candidates]
        for row, sequence in enumerate(self.sequences):
            written = sequence[1:]
            seen = set(written) - {self.plan.eos_id}
            scores[row, [int(each) in seen for each in tokens[row]]] *= self.plan.repetition_penalty
            refused = _completing(written, self.plan.no_repeat_ngram)
            places = [int(each) in refused for each in tokens[row]]
            # Where all would be refused nothing is: a search must go on.
            if not all(places):
                scores[row, places] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(scores, order, 1), np.take_along_axis(tokens, order, 1)

    @abstractmethod
    def extend(self, scores: Array, tokens: Array) -> None:
        """Chooses among the successors; sets ``tokens``, ``parents``, ``sequences``, ``done``."""

    @abstractmethod
    def best(self) -> list[Hypothesis]:
        """The ``n_best`` finished hypotheses, the best first."""


def _completing(written: tuple[int, ...], length: int) -> set[int]:
    """Tokens that would complete a run of ``length`` tokens for the second time."""
    if not 0 < length <= len(written):
        return set()
    last = written[len(written) - length + 1 :]
    return {
        written[at + length - 1]
        for at in range(len(written) - length + 1)
        if written[at : at + length - 1] == last
    }


class GreedySearch(Search):
    """The likeliest successor at each step."""

    def __init__(self, plan: SearchPlan) -> None:
        super().__init__(plan)
        self._total = 0.0

    def extend(self, scores: Array, tokens: Array) -> None:
        """Takes the first; plain numbers, as this runs for every row at every step."""
        token = int(tokens[0, 0])
        sequence = (*self.sequences[0], token)
        self._total += float(scores[0, 0])
        self.tokens, self.sequences = [token], [sequence]
        self.done = token == self.plan.eos_id or len(sequence) >= self.plan.max_length

    def best(self) -> list[Hypothesis]:
        """The one there is."""
        (sequence,) = self.sequences
        return [Hypothesis(sequence, self._total / len(sequence))]


class BeamSearch(Search):
    """Hugging Face's beam search with ``length_penalty=1.0`` and ``early_stopping=False``.

    It ends when as many hypotheses as beams are finished and the likeliest unfinished one scores no
    better, at its present length, than the worst of them.
    """

    def __init__(self, plan: SearchPlan) -> None:
        super().__init__(plan)
        self._totals = np.zeros(1)  # [W]
        self._finished: list[Hypothesis] = []

    def extend(self, scores: Array, tokens: Array) -> None:
        """Keeps the best successors over all hypotheses."""
        beams, length = self.plan.beams, len(self.sequences[0]) + 1
        totals = self._totals[:, None] + scores  # [W, K]
        ranked = np.argsort(-totals, axis=None, kind="stable")[: 2 * beams]
        self.done = length >= self.plan.max_length
        running: list[tuple[int, int, float]] = []
        for rank, (parent, column) in enumerate(zip(*np.unravel_index(ranked, totals.shape))):
            token, total = int(tokens[parent, column]), float(totals[parent, column])
            if token != self.plan.eos_id and not self.done:
                running.append((int(parent), token, total))
            elif rank < beams:
                # The candidates below only stand in for those that end here.
                sequence = (*self.sequences[parent], token)
                self._finished.append(Hypothesis(sequence, total / length))
        self._finished = sorted(self._finished, key=lambda each: -each.score)[:beams]
        self._go_on(running[:beams])
        full = len(self._finished) == beams
        self.done |= full and self._totals[0] / length <= self._finished[-1].score

    def best(self) -> list[Hypothesis]:
        """The finished hypotheses of the highest scores."""
        return self._finished[: self.plan.n_best]

    def _go_on(self, running: Sequence[tuple[int, int, float]]) -> None:
        # Nothing goes on at the length limit; the width is still that of the group's other rows.
        chosen = running or [(0, self.plan.eos_id, -np.inf)] * self.plan.beams
        self.parents = [parent for parent, _, _ in chosen]
        self.tokens = [token for _, token, _ in chosen]
        self.sequences = [(*self.sequences[parent], token) for parent, token, _ in chosen]
        self._totals = np.array([total for _, _, total in chosen])  # [W]


class SampledSearch(Search):
    """Independent samples, each from its own stream of random numbers.

    From the ``top_k`` likeliest tokens at every step (Fan et al. 2018, arXiv 1805.04833); for
    back-translation see Edunov et al. 2018, arXiv 1808.09381.
    """

    def __init__(self, plan: SearchPlan, sampling: Sampling) -> None:
        super().__init__(plan)
        self._sampling = sampling
        self._streams = [
            np.random.default_rng((*sampling.seed, draw)) for draw in range(plan.beams)
        ]
        self._totals = np.zeros(plan.beams)  # [W]

    def extend(self, scores: Array, tokens: Array) -> None:
        """Draws a successor for every sample that has not ended."""
        width = self.plan.beams
        if len(self.sequences[0]) == 1:
            self.parents, self.sequences = [0] * width, self.sequences * width
        else:
            self.parents = list(range(width))
        self.tokens = [
            self._extend_one(draw, scores[parent], tokens[parent])
            for draw, parent in enumerate(self.parents)
        ]
        ended = [self._ended(sequence) for sequence in self.sequences]
        self.done = all(ended)

    def best(self) -> list[Hypothesis]:
        """The ``n_best`` first samples, as they were drawn: the likeliest are not preferred."""
        pairs = list(zip(self.sequences, self._totals, strict=True))[: self.plan.n_best]
        return [Hypothesis(sequence, float(total) / len(sequence)) for sequence, total in pairs]

    def _extend_one(self, draw: int, scores: Array, tokens: Array) -> int:
        sequence = self.sequences[draw]
        if self._ended(sequence):
            return self.plan.eos_id
        place = self._pick(draw, scores, tokens)
        token = int(tokens[place])
        self.sequences[draw] = (*sequence, token)
        self._totals[draw] += scores[place]
        return token

    def _pick(self, draw: int, scores: Array, tokens: Array) -> int:
        # In order of ids, so that rounding that swaps two equally likely tokens changes nothing.
        order = np.argsort(tokens)
        warmed = (scores[order].astype(np.float64) - scores.max()) / self._sampling.temperature
        cumulative = np.cumsum(np.exp(warmed))
        aim = self._streams[draw].random() * cumulative[-1]
        return int(order[min(np.searchsorted(cumulative, aim, side="right"), len(order) - 1)])

    def _ended(self, sequence: tuple[int, ...]) -> bool:
        return len(sequence) >= self.plan.max_length or sequence[-1] == self.plan.eos_id


def search_for(plan: SearchPlan) -> Search:
    """A search at its beginning."""
    if plan.sampling:
        return SampledSearch(plan, plan.sampling)
    return GreedySearch(plan) if plan.beams == 1 else BeamSearch(plan)
