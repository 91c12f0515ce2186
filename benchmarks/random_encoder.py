"""An encoder of any size with random weights, and random modules in the slots of its graphs."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from adaptation.architectures import Architecture, EncoderArchitecture
from adaptation.banks import stack_banks
from adaptation.methods import METHODS, Method
from adaptation.slotted import SlottedBase
from benchmarks.experiment import Experiment
from langmod.specs import ROLES, BankSpec, Role
from service.session import Array
from service.tables import Table

WORDS = 300
"""Size of the vocabulary, which costs nothing here."""
HEAD = 64
"""Features of an attention head."""
FIRST = 2
"""Position of a row's first token."""
NOISE = 0.02
"""Added to a fresh module's tensors, most of which begin as zeros."""
Tables = Mapping[str, Table]
Mix = Literal["bare", "lora", "bottleneck", "every kind", "every kind twice"]
"""Rows on the bare base; modules of one method, or of every method in turn, one a row; a module of
each role a row."""


class RandomEncoder(Experiment):
    """What is measured on a base of XLM-R's architecture with random weights."""

    width: int
    layers: int = Field(ge=1)
    modules: int = Field(default=30, ge=1)
    """In the slots of a role; rows take them in turn."""

    def base(self) -> EncoderArchitecture:
        """A base of the asked width and depth; its vocabulary is small."""
        torch.manual_seed(self.seed)
        config = XLMRobertaConfig(
            vocab_size=WORDS, hidden_size=self.width, num_hidden_layers=self.layers,
            num_attention_heads=max(self.width // HEAD, 1), intermediate_size=4 * self.width,
            max_position_embeddings=514, type_vocab_size=1, attn_implementation="eager",
        )  # fmt: skip
        return EncoderArchitecture(XLMRobertaForMaskedLM(config).eval())

    def slotted(self) -> SlottedBase:
        """The base with slots, ready for export."""
        slotted = SlottedBase(self.base())
        slotted.eval().requires_grad_(False)
        return slotted

    def modules_of(self, base: Architecture, mix: Mix) -> list[tuple[Role, dict[str, Tensor]]]:
        """Random modules of each role that a mix fills, their methods in turn."""
        methods = methods_of(mix)
        return [
            (role, _module(methods[number % len(methods)], base, number))
            for role in (ROLES if mix == "every kind twice" else ROLES[:1])
            for number in range(self.modules if methods else 0)
        ]


def methods_of(mix: Mix) -> Sequence[Method]:
    """Whose modules a mix holds: every method that changes what layers compute."""
    every = [method for name, method in METHODS.items() if name not in {"soft_prompt", "xpt"}]
    named = {"bare": [], "lora": [METHODS["lora"]], "bottleneck": [METHODS["bottleneck"]]}
    return named.get(mix, every)


def _module(method: Method, base: Architecture, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    fresh = method.fresh(method.Config(), base, generator)
    return {
        name: tensor + NOISE * torch.randn(tensor.shape, generator=generator)
        for name, tensor in fresh.items()
    }


def tables_of(
    banks: Sequence[BankSpec], modules: Sequence[tuple[Role, Mapping[str, Tensor]]]
) -> Tables:
    """The banks of some modules; those that none fills are empty."""
    filled = stack_banks(banks, modules)
    slots = {f"S.{role}": 1 + sum(own == role for own, _ in modules) for role in ROLES}

    def empty(bank: BankSpec) -> Array:
        shape = [slots.get(axis, 0) if isinstance(axis, str) else axis for axis in bank.shape]
        return np.zeros(shape, np.float32)

    return {
        bank.name: Table(filled[bank.name].numpy() if bank.name in filled else empty(bank))
        for bank in banks
    }
