"""A language module in training: Hugging Face's forward through it."""

from torch import Tensor

from adaptation.slot_sources import FixedSource
from training.modules.over_base import OverBase


class LanguageModel(OverBase):
    """A base whose language module learns; the forward is Hugging Face's own."""

    def forward(self, **features: Tensor) -> object:
        """The Hugging Face output, logits through the language module."""
        named = {f"language.{name}": tensor for name, tensor in self.tensors().items()}
        with self.slotted.using(FixedSource(named)):
            return self.slotted.model(**features)
