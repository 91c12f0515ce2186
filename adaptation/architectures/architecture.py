"""What langmod knows of a family of bases: where its parts lie; nothing else knows layer names."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from langmod.specs import Kind


@dataclass(frozen=True)
class Sublayer:
    """Attention or feed-forward block of a layer: ``h`` is added to the residual ``r``."""

    output: str
    """Path inside a layer of the linear that gives h."""
    norm: str | None
    """Path of the norm over h + r (post-norm), None when pre-norm."""
    residual: tuple[str, int]
    """The module that is handed r, and as which of its arguments."""


@dataclass(frozen=True)
class Tower:
    """One pile of equal layers: a base's encoder, or a translator's decoder."""

    name: str
    layers: nn.ModuleList
    sublayers: Mapping[str, Sublayer]
    """``attention``, in decoders ``cross``, and ``output`` (the feed-forward block)."""

    @cached_property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Path of every linear in a layer → its input and output width."""
        return {
            path: (module.in_features, module.out_features)
            for path, module in self.layers[0].named_modules()
            if isinstance(module, nn.Linear)
        }

    @cached_property
    def norms(self) -> tuple[str, ...]:
        """Path of every norm in a layer."""
        named = self.layers[0].named_modules()
        return tuple(path for path, module in named if isinstance(module, nn.LayerNorm))

    @property
    def width(self) -> int:
        """D, the width of the vectors between the layers."""
        return self.linears[self.sublayers["attention"].output][1]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)


class Architecture(ABC):
    """A family of bases; a subclass registers itself for its ``model_type`` values."""

    kind: ClassVar[Kind]
    model_types: ClassVar[tuple[str, ...]] = ()
    families: ClassVar[dict[str, type["Architecture"]]] = {}

    def __init_subclass__(cls) -> None:
        for model_type in cls.model_types:
            if model_type in Architecture.families:
                raise TypeError(f"two architectures claim {model_type}")
            Architecture.families[model_type] = cls

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    @property
    def width(self) -> int:
        """D, the width of a token's vector."""
        return int(self.model.config.hidden_size)

    @property
    def heads(self) -> int:
        """H, attention heads of the layers that read a row."""
        return int(self.model.config.num_attention_heads)

    @property
    def vocabulary_size(self) -> int:
        """V, token ids that a row may have."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    @abstractmethod
    def reader(self) -> nn.Module:
        """The module that takes a whole row: token ids or word vectors, and their mask."""

    @abstractmethod
    def towers(self) -> tuple[Tower, ...]:
        """Encoder first."""

    @property
    def embeddings(self) -> nn.Module | None:
        """The module whose output ``[B, T, D]`` the first layer takes; None where none is one."""
        return None

    @property
    def tail(self) -> nn.Module | None:
        """The part from which on no position reads another; takes ``[..., D]`` alone.

        None where a hook cannot drop positions there.
        """
        return None

    @property
    def vocabulary(self) -> nn.Module:
        """The last part of the vocabulary head: the linear from ``[..., D]`` to ``[..., V]``."""
        return self.model.get_output_embeddings()

    @abstractmethod
    def vocabulary_head(self) -> nn.Module:
        """The module that turns vectors ``[..., D]`` into vocabulary logits ``[..., V]``."""

    @abstractmethod
    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → word vectors ``[B, T, D]``, before positions."""

    def layer(self, tower: str, index: int) -> nn.Module:
        """One layer of a tower."""
        return next(each for each in self.towers() if each.name == tower).layers[index]

    @abstractmethod
    def layer_path(self, tower: str, index: int) -> str:
        """The full name of a layer in the Hugging Face model."""

    def linear_paths(self) -> dict[str, tuple[Tower, int, str]]:
        """Full name of every linear of every layer → tower, layer number, path in the layer."""
        return {
            f"{self.layer_path(tower.name, layer)}.{path}": (tower, layer, path)
            for tower, layer, path, _ in self.linears()
        }

    def linears(self) -> Iterator[tuple[Tower, int, str, nn.Module]]:
        """Every linear of every layer: tower, layer number, path in the layer, module."""
        for tower in self.towers():
            for index, layer in enumerate(tower.layers):
                for path in tower.linears:
                    yield tower, index, path, layer.get_submodule(path)
