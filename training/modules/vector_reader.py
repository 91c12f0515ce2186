"""Texts as the vectors of length 1 that the service's ``/embed`` answers, in torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaptation.architectures import EncoderArchitecture
from adaptation.rows import prompt_length
from adaptation.slot_sources import FixedSource
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.tasks.embed import prefixed
from training.modules.task_run import stacked_tensors
from training.scoring.score import Scored, open_base

BATCH_TOKENS = 4096
Vectors = NDArray[np.float32]
Tensors = dict[str, Tensor]


class VectorReader:
    """Turns texts into vectors of length 1, through the module of their language."""

    def __init__(self, base: str, language_modules: str | None = None) -> None:
        """Opens the base; ``language_modules`` is a path with ``{language}``.

        Raises:
            ConfigError: it is no encoder.
        """
        self.scored: Scored = open_base(base)
        architecture = self.scored.slotted.architecture
        if not isinstance(architecture, EncoderArchitecture):
            raise ConfigError(f"{base} is a {architecture.kind}: it has no vectors")
        self.architecture, self._place = architecture, language_modules

    def module(self, language: str) -> Tensors:
        """The tensors of a language's module; none for the bare base."""
        tag = canonical(language)
        place = None if self._place is None else Path(self._place.format(language=tag))
        if place is None or not place.is_dir():
            return {}
        found = stacked_tensors(place, self.scored.slotted)
        return {f"language.{name}": tensor for name, tensor in found.items()}

    def vectors(self, texts: Sequence[str], language: str) -> Vectors:
        """Rows ``[N, D]``."""
        tensors, spec = self.module(language), self.scored.spec
        encoder = self.scored.encoder.beside(prompt_length(tensors))
        rows = [
            encoder.encode(str(prefixed(text, None, spec)), truncate=True).token_ids
            for text in texts
        ]
        found = np.empty((len(rows), spec.width), np.float32)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        with torch.no_grad(), self.scored.slotted.using(FixedSource(tensors)):
            for places in _batches(order, [len(row) for row in rows]):
                found[places] = self._means([rows[place] for place in places])
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    def _means(self, rows: Sequence[NDArray[np.int64]]) -> Vectors:
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row) for row in rows],
            batch_first=True,
            padding_value=self.scored.spec.pad_id,
        )  # [B, T]
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        hidden = self.architecture.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        means: Vectors = ((hidden * mask[..., None]).sum(1) / lengths[:, None]).numpy()
        return means


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Places of like length, up to a number of padded tokens."""
    batches: list[list[int]] = [[]]
    for place in order:
        if (len(batches[-1]) + 1) * lengths[place] > BATCH_TOKENS and batches[-1]:
            batches.append([])
        batches[-1].append(place)
    return [batch for batch in batches if batch]
