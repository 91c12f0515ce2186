"""Modules with a vocabulary of their own: how their rows are read, and what reads them.

Graphs that take a module's tensors as inputs stand before the body, which runs the rows of all
modules at once, and after it.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
import onnxruntime as ort

from langmod.encoding import Encoded, TextEncoder
from langmod.errors import BrokenModule, ConfigError
from langmod.store import Module
from service.fair_queue import padded
from service.session import Array, GraphSet

MASK_INPUTS = ("hidden", "rows", "columns", "k")


class Read(Protocol):
    """What must be known of a row to read it."""

    @property
    def encoded(self) -> Encoded:
        """Its tokens."""
        ...


class OwnVocabulary:
    """The words of one module, ready to run."""

    def __init__(self, module: Module, graphs: GraphSet, device: str) -> None:
        """Reads the tokenizer and hands the tensors to the device.

        Raises:
            BrokenModule: what it brings is no tokenizer, or one of more tokens than it has vectors.
        """
        about = module.manifest.vocabulary
        assert about is not None, "a module without a vocabulary reads the base's"
        try:
            self.encoder = TextEncoder(module.tokenizer or b"", graphs.base, about)
        except ConfigError as error:
            raise BrokenModule(f"module {module.manifest.name!r}: {error.message}") from error
        if self.encoder.vocabulary > about.size:
            raise BrokenModule(
                f"module {module.manifest.name!r}: its tokenizer has {self.encoder.vocabulary} "
                f"tokens, the module {about.size}"
            )
        self._graphs, self._base = graphs, graphs.base
        self._tensors = {
            f"{module.manifest.role}.{name}": ort.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(tensor, np.float32), device, 0
            )
            for name, tensor in module.tensors.items()
        }

    def read(self, rows: Sequence[Read]) -> list[Array]:
        """Word vectors for the body, ``[T, D]`` for each row."""
        ids, types = (self._blank(rows, np.int64) for _ in range(2))
        ids += self.encoder.base.pad_id
        for at, row in enumerate(rows):
            ids[at, : len(row.encoded)] = row.encoded.token_ids
            types[at, : len(row.encoded)] = row.encoded.type_ids
        feeds = {"token_ids": ids, "token_types": types, "mask": self._mask(rows, ids.shape)}
        words = self._run("xpt_entry", feeds)["words"]
        return [each[: len(row.encoded)] for row, each in zip(rows, words, strict=True)]

    def leave(self, rows: Sequence[Read], hidden: Sequence[Array]) -> list[Array]:
        """What heads read, ``[T, D]`` for each row, from what the body gave."""
        batch = self._blank(rows, np.float32, self._base.width)
        for at, each in enumerate(hidden):
            batch[at, : len(each)] = each
        feeds = {"hidden": batch, "mask": self._mask(rows, batch.shape)}
        left = self._run("xpt_exit", feeds)["left"]
        return [each[: len(row.encoded)] for row, each in zip(rows, left, strict=True)]

    def fill_mask(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Scores and tokens ``[N, K]`` of the module's own words, whose head reads one layer."""
        return self._run("xpt_fill_mask", {name: feeds[name] for name in MASK_INPUTS})

    def _run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._graphs[graph].run({**feeds, **self._tensors})

    def _blank(self, rows: Sequence[Read], kind: type, *width: int) -> Array:
        """Zeros ``[B, T]`` or ``[B, T, D]``."""
        longest = max(len(row.encoded) for row in rows)
        return np.zeros((len(rows), min(padded(longest), self._base.max_tokens), *width), kind)

    @staticmethod
    def _mask(rows: Sequence[Read], shape: tuple[int, ...]) -> Array:
        lengths = np.array([[len(row.encoded)] for row in rows])
        return (np.arange(shape[1]) < lengths).astype(np.int64)


class Vocabularies:
    """The words of every module in memory that brings some; they go when it goes."""

    def __init__(self, graphs: GraphSet, device: str) -> None:
        self._graphs, self._device = graphs, device
        self._known: WeakKeyDictionary[Module, OwnVocabulary] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, module: Module | None) -> OwnVocabulary | None:
        """A module's words; None for those that read the base's.

        Raises:
            BrokenModule: what it brings is no tokenizer of its words.
        """
        if module is None or module.manifest.vocabulary is None:
            return None
        with self._lock:
            if module not in self._known:
                self._known[module] = OwnVocabulary(module, self._graphs, self._device)
            return self._known[module]
