"""``module.json``: what a published module holds, and why it fits a base or not."""

from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import Field, JsonValue, ValidationError

from langmod.config import Frozen, describe
from langmod.errors import BrokenModule
from langmod.specs.base import BaseSpec
from langmod.specs.metric import Metric
from langmod.specs.tensors import FORMAT_VERSION, Axis, BankSpec, Pooling, Role, TensorSpec

PROMPT = "soft_prompt.vectors"
"""The tensor ``[P, D]`` of a module that is put in front of a row's word vectors, outside graphs; a
vector of zeros is no position."""
SHORTEST_TEXT = 3
"""Tokens of a text of one token, special ones included."""


class Vocabulary(Frozen):
    """The tokens that a module brings, where it has a vocabulary of its own."""

    size: int
    """V"""
    pad_id: int
    eos_id: int
    mask_token: str
    """How a request writes a mask in texts that this module reads."""
    mask_id: int
    sha256: str
    """The sha256 of tokenizer.json."""


class ModuleManifest(Frozen):
    """``module.json``: a published module, immutable, named by the digest of its files."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    role: Role
    method: str
    config: Mapping[str, JsonValue] = Field(default_factory=dict)
    languages: tuple[str, ...] = ()
    """BCP-47 tags it serves, its own first; ``*``: any language (a task that transfers)."""
    source: str | None = None
    target: str | None = None
    """Translator: the direction it serves."""
    task: str | None = None
    """What is asked for: ``topic``, ``sentiment``, ``ner``…"""
    kind: str | None = None
    """Which file of langmod/tasks encodes and decodes it: ``classify``, ``tag``."""
    labels: tuple[str, ...] = ()
    pooling: Pooling = "first"
    """How a classification head reads a row: its first token, the mean of its tokens, or the first
    vector of the module's own soft prompt."""
    priority: int = 0
    """The module of highest priority serves a request that names none and that several fit; ties go
    by name."""
    base: str
    base_digest: str
    tokenizer_digest: str
    tensors: tuple[TensorSpec, ...]
    sha256: str
    """The sha256 of slots.safetensors."""
    vocabulary: Vocabulary | None = None
    """The tokens of a module that has a ``tokenizer.json`` of its own; others read the base's
    tokens."""
    licence: str
    data: str
    """The data it was trained on: corpus digest and sources."""
    metrics: tuple[Metric, ...] = ()

    @classmethod
    def parse(cls, text: bytes, file: str) -> Self:
        """Reads the bytes of a ``module.json``, called ``file`` in messages.

        Raises:
            BrokenModule: they do not validate; all faults are listed.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise BrokenModule(f"{file}: {describe(error)}") from error

    def faults(self, base: BaseSpec, banks: Iterable[BankSpec]) -> list[str]:
        """Every reason why this module cannot be served on a base's graphs; empty when it can."""
        return [*self.lacking(), *self.misfits(base, banks)]

    def lacking(self) -> list[str]:
        """What it must say of itself and does not."""
        wanted = ("task", "kind", "labels") if self.role == "task" else ()
        missing = [name for name in wanted if not getattr(self, name)]
        return [f"a task module needs {name}" for name in missing]

    def misfits(self, base: BaseSpec, banks: Iterable[BankSpec]) -> list[str]:
        """Every reason why its tensors do not fit a base."""
        found = []
        if self.base_digest != base.digest:
            found.append(
                f"made for base {self.base} ({self.base_digest[:12]}), not {base.name} "
                f"({base.digest[:12]})"
            )
        if self.tokenizer_digest != base.tokenizer_digest:
            found.append(f"made for another tokenizer ({self.tokenizer_digest[:12]})")
        found += self._prompt_faults(base)
        slots = {bank.tensor: bank for bank in banks if bank.role == self.role and not bank.marks}
        own = f"{self.method}."
        brought = any(each.name.startswith(own) for each in self.tensors)
        if brought and not any(name.startswith(own) for name in slots):
            return [
                *found,
                f"the graphs take no {self.role} modules of method {self.method}: export the "
                "graphs again",
            ]
        for tensor in self.tensors:
            bank = slots.get(tensor.name)
            if bank is None:
                found.append(f"the graphs have no slot for {tensor.name} in role {self.role}")
            elif not _fits(tensor.shape, bank.row_shape):
                found.append(
                    f"{tensor.name} has shape {list(tensor.shape)}, allowed {list(bank.row_shape)}"
                )
            else:
                found += self._vocabulary_faults(tensor, bank)
        return found

    def _prompt_faults(self, base: BaseSpec) -> list[str]:
        found = []
        prompt = next((int(each.shape[0]) for each in self.tensors if each.name == PROMPT), 0)
        if self.pooling == "prompt" and not prompt:
            found.append(f"pooling is 'prompt', and there is no {PROMPT}")
        if prompt > base.max_tokens - SHORTEST_TEXT:
            found.append(
                f"{PROMPT} has {prompt} vectors, which leave no room for text: {base.name} reads "
                f"{base.max_tokens} tokens"
            )
        return found

    def _vocabulary_faults(self, tensor: TensorSpec, bank: BankSpec) -> list[str]:
        """Where a tensor is of more or fewer tokens than the module's vocabulary has."""
        own = self.vocabulary.size if self.vocabulary else "none"
        return [
            f"{tensor.name} has {size} tokens, the module's vocabulary {own}"
            for size, axis in zip(tensor.shape, bank.row_shape, strict=True)
            if isinstance(axis, str) and axis.startswith("V.") and size != own
        ]


def _fits(shape: tuple[Axis, ...], allowed: tuple[Axis, ...]) -> bool:
    return len(shape) == len(allowed) and all(
        isinstance(limit, str) or size == limit for size, limit in zip(shape, allowed, strict=True)
    )
