"""Where the parts of a base lie: one class per family, so that nothing else knows layer names."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

from langmod.errors import ConfigError
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
class Stack:
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
    @abstractmethod
    def reader(self) -> nn.Module:
        """The module that takes a whole row: token ids or word vectors, and their mask."""

    @abstractmethod
    def stacks(self) -> tuple[Stack, ...]:
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

    def layer(self, stack: str, index: int) -> nn.Module:
        """One layer of a stack."""
        return next(each for each in self.stacks() if each.name == stack).layers[index]

    @abstractmethod
    def layer_path(self, stack: str, index: int) -> str:
        """The full name of a layer in the Hugging Face model."""

    def linear_paths(self) -> dict[str, tuple[Stack, int, str]]:
        """Full name of every linear of every layer → stack, layer number, path in the layer."""
        return {
            f"{self.layer_path(stack.name, layer)}.{path}": (stack, layer, path)
            for stack, layer, path, _ in self.linears()
        }

    def linears(self) -> Iterator[tuple[Stack, int, str, nn.Module]]:
        """Every linear of every layer: stack, layer number, path in the layer, module."""
        for stack in self.stacks():
            for index, layer in enumerate(stack.layers):
                for path in stack.linears:
                    yield stack, index, path, layer.get_submodule(path)


POST_NORM = {
    "attention": Sublayer(
        "attention.output.dense", "attention.output.LayerNorm", ("attention.output", 1)
    ),
    "output": Sublayer("output.dense", "output.LayerNorm", ("output", 1)),
}


class EncoderArchitecture(Architecture):
    """XLM-R, RoBERTa and BERT: post-norm layers, learned positions."""

    kind = "encoder"
    model_types = ("xlm-roberta", "roberta", "bert")

    @property
    def backbone(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    @property
    def reader(self) -> nn.Module:
        return self.backbone

    def stacks(self) -> tuple[Stack, ...]:
        return (Stack("encoder", self.backbone.encoder.layer, POST_NORM),)

    def layer_path(self, stack: str, index: int) -> str:
        return f"{self.model.base_model_prefix}.{stack}.layer.{index}"

    @property
    def tail(self) -> nn.Module:
        """The last layer behind its attention's products."""
        return self.backbone.encoder.layer[-1].get_submodule("attention.output")

    @property
    def embeddings(self) -> nn.Module:
        """Words, positions and token types, normed."""
        return self.backbone.embeddings

    def vocabulary_head(self) -> nn.Module:
        return self.model.lm_head if hasattr(self.model, "lm_head") else self.model.cls

    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → word vectors ``[B, T, D]``, before positions and norm."""
        return self.backbone.embeddings.word_embeddings(token_ids)

    def placed(self, words: Tensor, token_types: Tensor | None) -> Tensor:
        """Word vectors ``[B, T, D]`` with positions and token types, normed, as layers take them.

        Done part by part, past the hooks of the module that does it for the layers.
        """
        embeddings = self.backbone.embeddings
        places = torch.arange(words.shape[1], device=words.device) + self.first_position  # [T]
        types = torch.zeros_like(places) if token_types is None else token_types
        vectors = embeddings.position_embeddings(places) + embeddings.token_type_embeddings(types)
        return embeddings.LayerNorm(words + vectors)

    def blank_layer(self) -> nn.Module:
        """A layer of the base's shape without weights or hooks."""
        with torch.device("meta"):
            return type(self.backbone.encoder.layer[0])(self.model.config).eval()

    @property
    def first_position(self) -> int:
        """Position id of the first token."""
        return 0 if self.model.config.model_type == "bert" else self.model.config.pad_token_id + 1


PRE_NORM = {
    "attention": Sublayer("self_attn.out_proj", None, ("self_attn_layer_norm", 0)),
    "output": Sublayer("fc2", None, ("final_layer_norm", 0)),
}
CROSS = {"cross": Sublayer("encoder_attn.out_proj", None, ("encoder_attn_layer_norm", 0))}


class TranslatorArchitecture(Architecture):
    """M2M100 and NLLB: pre-norm layers, sinusoidal positions, language tokens."""

    kind = "translator"
    model_types = ("m2m_100",)

    @property
    def reader(self) -> nn.Module:
        return self.model.model

    def stacks(self) -> tuple[Stack, ...]:
        inner = self.model.model
        return (
            Stack("encoder", inner.encoder.layers, PRE_NORM),
            Stack("decoder", inner.decoder.layers, PRE_NORM | CROSS),
        )

    def layer_path(self, stack: str, index: int) -> str:
        return f"model.{stack}.layers.{index}"

    def vocabulary_head(self) -> nn.Module:
        return self.model.lm_head

    def words(self, token_ids: Tensor) -> Tensor:
        """Token ids ``[B, T]`` → scaled word vectors ``[B, T, D]``, before positions."""
        return self.model.model.encoder.embed_tokens(token_ids)


def family_of(folder: Path) -> type[Architecture]:
    """The architecture that a checkpoint's ``config.json`` names.

    Raises:
        ConfigError: the folder is no checkpoint, or of a family that langmod does not know.
    """
    # Without a config.json transformers guesses the family from the folder's name.
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no Hugging Face checkpoint: it has no config.json")
    try:
        model_type = AutoConfig.from_pretrained(folder).model_type
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} is no Hugging Face checkpoint: {error}") from error
    family = Architecture.families.get(model_type)
    if family is None:
        allowed = ", ".join(sorted(Architecture.families))
        raise ConfigError(f"{folder} is a {model_type} model; allowed: {allowed}")
    return family


def load_base(folder: Path, attention: str = "sdpa") -> Architecture:
    """A base checkpoint in fp32 as its architecture; weights stored in halves are widened.

    Raises:
        ConfigError: the folder is no checkpoint, or of a family that langmod does not know.
    """
    family = family_of(folder)
    loader = AutoModelForMaskedLM if family.kind == "encoder" else AutoModelForSeq2SeqLM
    model = loader.from_pretrained(folder, attn_implementation=attention).float()
    return family(model)
