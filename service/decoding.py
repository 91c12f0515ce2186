"""Source sentences to finished hypotheses: the encoder once, then decoder steps to the end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from langmod.encoding import IntArray
from langmod.specs import BaseSpec
from service.bank import NO_PROMPT, Pinned
from service.rows import Value, batch_shape, length_of, mask_of, words_of
from service.searches import Hypothesis, Search, SearchPlan, search_for
from service.session import Array, Graph, GraphSet
from service.tables import Table

STILL_CARRIED = 0.75
"""Sentences are taken out of a group when no more than this share of it still runs."""
BIAS = "cross.bias"
HIDDEN = float(np.finfo(np.float32).min)
"""What is added to the scores of padding."""
HYPOTHESES = 256
"""Most hypotheses of one group: the scores of the whole vocabulary are made for each."""


@dataclass(frozen=True, eq=False)
class Sentence:
    """A source sentence and what is searched for after it."""

    token_ids: IntArray
    """``[T]``"""
    plan: SearchPlan
    prompt: Array = field(default_factory=lambda: NO_PROMPT)
    """The vectors in front of its tokens, ``[P, D]``."""


@dataclass(frozen=True, eq=False)
class Sources:
    """What the decoder attends to, for B sentences."""

    cross: Mapping[str, Value]
    """Keys and values of every decoder layer, ``[B, H, T, E]``, and what hides padding,
    ``[B, T]``."""
    slots: Array
    """``[B, 2]``"""

    def __len__(self) -> int:
        """B."""
        return len(self.slots)

    def take(self, places: Sequence[int]) -> "Sources":
        """Some of the sentences."""
        if list(places) == list(range(len(self))):
            return self
        cross = {name: _taken(value, places) for name, value in self.cross.items()}
        return Sources(cross, self.slots[places])

    @classmethod
    def joined(cls, parts: Sequence["Sources"], order: Sequence[int]) -> "Sources":
        """Parts one after the other, padded to the longest, as rows of another order."""
        cross = {
            name: _joined([part.cross[name] for part in parts], HIDDEN if name == BIAS else 0)
            for name in parts[0].cross
        }
        return cls(cross, np.concatenate([part.slots for part in parts])).take(order)


def _taken(value: Value, places: Sequence[int]) -> Value:
    if isinstance(value, ort.OrtValue):
        rows = np.ascontiguousarray(value.numpy()[places])
        return ort.OrtValue.ortvalue_from_numpy(rows, value.device_name(), 0)
    return value[places]


def _joined(parts: Sequence[Value], padding: float) -> Array:
    """``[B, …, T, …]`` of several batches, T being the axis after heads, or the last."""
    arrays = [each.numpy() if isinstance(each, ort.OrtValue) else each for each in parts]
    axis = min(2, arrays[0].ndim - 1)
    longest = max(each.shape[axis] for each in arrays)
    room = [[(0, 0)] * each.ndim for each in arrays]
    for pad, each in zip(room, arrays, strict=True):
        pad[axis] = (0, longest - each.shape[axis])
    padded = [
        np.pad(each, pad, constant_values=padding) for each, pad in zip(arrays, room, strict=True)
    ]
    return np.concatenate(padded)


class Decoder:
    """The graphs of a translator base, as a loop."""

    def __init__(self, graphs: GraphSet) -> None:
        self._graphs = graphs
        self._base: BaseSpec = graphs.base

    def decode(self, sentences: Sequence[Sentence], pinned: Pinned) -> list[list[Hypothesis]]:
        """The finished hypotheses of each sentence, the best first.

        Rows of any direction, modules and plans; those of equal width are decoded side by side.
        """
        sources = self._read(sentences, pinned)
        searches = [search_for(sentence.plan) for sentence in sentences]
        for places in _groups(searches):
            some = [searches[place] for place in places]
            self._search(some, Steps(self._graphs["decoder"], sources.take(places), pinned.tables))
        return [search.best() for search in searches]

    def _read(self, sentences: Sequence[Sentence], pinned: Pinned) -> Sources:
        """All sentences through the encoder; short ones are not padded to long ones there."""
        groups = _alike([length_of(each) for each in sentences])
        parts = [
            self._read_alike([sentences[place] for place in places], pinned.take(places))
            for places in groups
        ]
        if len(parts) == 1:
            return parts[0]
        order = [place for places in groups for place in places]
        return Sources.joined(parts, np.argsort(order).tolist())

    def _read_alike(self, sentences: Sequence[Sentence], pinned: Pinned) -> Sources:
        shape = batch_shape(sentences, self._base)
        mask, words = mask_of(sentences, shape), words_of(sentences, shape, self._graphs)
        feeds = {"words": words, "mask": mask, "slots": pinned.slots}
        encoder = self._graphs["encoder"]
        names = [tensor.name for tensor in encoder.spec.outputs]
        return Sources(encoder.run(feeds, pinned.tables, names), pinned.slots)

    def _search(self, searches: list[Search], steps: "Steps") -> None:
        candidates = max(search.plan.candidates for search in searches)
        width = 1
        while places := _remaining(searches):
            steps.keep(places)
            searches = [searches[place] for place in places]
            tokens = [token for search in searches for token in search.tokens]
            parents = [
                place * width + parent
                for place, search in zip(places, searches, strict=True)
                for parent in search.parents
            ]
            scores, successors = steps.run(tokens, parents, candidates)  # [R, K] each
            width = len(tokens) // len(searches)
            for at, search in enumerate(searches):
                if not search.done:
                    own = slice(at * width, (at + 1) * width)
                    search.advance(scores[own], successors[own])


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Places of sentences that are read together.

    The longest with all of more than half its length; of the others the same, and so on.
    """
    groups: list[list[int]] = []
    shortest = math.inf
    for place in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        if lengths[place] <= shortest:
            groups.append([])
            shortest = lengths[place] / 2
        groups[-1].append(place)
    return groups if len(groups) > 1 else [list(range(len(lengths)))]


def _groups(searches: Sequence[Search]) -> list[list[int]]:
    """Places of the searches that are decoded together: of one width, not too many at once."""
    widths: dict[int, list[int]] = {}
    for place, search in enumerate(searches):
        widths.setdefault(search.plan.beams, []).append(place)
    return [
        places[start : start + HYPOTHESES // width]
        for width, places in sorted(widths.items())
        for start in range(0, len(places), HYPOTHESES // width)
    ]


def _remaining(searches: Sequence[Search]) -> list[int]:
    """Places of the searches to go on with; leaving costs a copy of the cross caches."""
    live = [place for place, search in enumerate(searches) if not search.done]
    return live if len(live) <= STILL_CARRIED * len(searches) else list(range(len(searches)))


class Steps:
    """A group's memory from step to step: caches, and what hypotheses attend to."""

    def __init__(self, graph: Graph, sources: Sources, tables: Mapping[str, Table]) -> None:
        self._graph, self._sources, self._tables = graph, sources, tables
        self._length = 0
        self._kept = [each.name for each in graph.spec.outputs if each.name.endswith(".out")]
        heads, width = (int(graph.spec.inputs[-1].shape[axis]) for axis in (1, 3))
        nothing = np.zeros((len(sources), heads, 0, width), np.float32)  # [B, H, 0, E]
        self._past: dict[str, Value] = {name.removesuffix(".out"): nothing for name in self._kept}
        self._same: dict[str, Value] = {}
        """What is fed as it was in the step before: the graph has it bound already."""

    def run(
        self, tokens: Sequence[int], parents: Sequence[int], candidates: int
    ) -> tuple[Array, Array]:
        """One token more for R hypotheses, those of a sentence side by side.

        Args:
            tokens: the last token of each, R.
            parents: which of the rows of the step before each continues, R.
            candidates: K, the successors wanted.

        Returns:
            Log-probabilities, descending, and the successors; both ``[R, K]``.
        """
        count = len(tokens)
        if not self._same or count != len(self._same["slots"]):
            slots = np.repeat(self._sources.slots, count // len(self._sources), axis=0)
            k = np.array([candidates], np.int64)
            self._same = {"slots": slots, "k": k, **self._sources.cross}
        feeds: dict[str, Value] = {
            "tokens": np.array(tokens, np.int64),
            "positions": np.full(count, self._length, np.int64),
            "parents": np.array(parents, np.int64),
            **self._past,
            **self._same,
        }
        found = self._graph.run(feeds, self._tables, self._kept)
        self._past = {name.removesuffix(".out"): found[name] for name in self._kept}
        self._length += 1
        return found["scores"], found["next_tokens"]

    def keep(self, places: Sequence[int]) -> None:
        """Lets go of the other sentences; their self caches go with the next step's parents."""
        kept = self._sources.take(places)
        if kept is not self._sources:
            self._sources, self._same = kept, {}
