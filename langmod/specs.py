"""The contract between stages as data: what a base is, what a graph takes, what a module holds.

Written by training and export, read by the service. Symbolic axes are the letters of
docs/glossary.md; an axis whose size follows what is loaded (slots, ranks, classes, prompt length)
is a string such as ``S.language`` or ``R.language.bottleneck``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, ValidationError

from langmod.config import Frozen, describe, write_atomic
from langmod.errors import BrokenModule, ConfigError

Role = Literal["language", "task"]
ROLES: tuple[Role, ...] = ("language", "task")
Kind = Literal["encoder", "translator"]
Precision = Literal["fp32", "int8"]
Pooling = Literal["first", "mean", "prompt"]
Axis = int | str
FORMAT_VERSION: Literal[1] = 1
PROMPT = "soft_prompt.vectors"
"""The tensor ``[P, D]`` of a module that is put in front of a row's word vectors, outside graphs; a
vector of zeros is no position."""
FP32_TOLERANCE = 1e-4
"""Largest difference between torch and an fp32 graph that an export may show."""
SHORTEST_TEXT = 3
"""Tokens of a text of one token, special ones included."""
ROW_TOLERANCE = 1e-5
"""Largest difference between a row's answer alone and in a mixed batch."""


class TensorSpec(Frozen):
    """Name, element type and axes of one tensor."""

    name: str
    dtype: Literal["float32", "float16", "int64", "bool"]
    shape: tuple[Axis, ...]


class BankSpec(Frozen):
    """One bank: a module tensor stacked over the slots of a role, a graph input."""

    name: str
    """``<role>.<tensor>``; a module's slots.safetensors holds it as ``<tensor>``."""
    role: Role
    shape: tuple[Axis, ...]
    """With the slot axis ``S.<role>``; other strings are axes that grow with the modules."""
    held: Literal["slots", "memory"] = "slots"
    """In the slots of a bank that graphs take, or in host memory, where the service itself reads it
    row by row."""
    marks: tuple[str, ...] = ()
    """Of the one bank of each role ``[S, K]`` that no module brings: the free axes of all places
    where modules have tensors, in the order of its columns. A slot has 1 where its module does."""

    @property
    def tensor(self) -> str:
        """The tensor's name inside a module."""
        return self.name.removeprefix(f"{self.role}.")

    @property
    def place(self) -> str | None:
        """Its free axis of ranks, or of presence, one for each place of a method; None without."""
        letters = ("R.", "E.")
        return next(
            (a for a in self.row_shape if isinstance(a, str) and a.startswith(letters)), None
        )

    @property
    def slot_axis(self) -> int:
        """Where in ``shape`` the slots lie."""
        return self.shape.index(f"S.{self.role}")

    @property
    def row_shape(self) -> tuple[Axis, ...]:
        """The shape without the slot axis: what one module brings."""
        axis = self.slot_axis
        return self.shape[:axis] + self.shape[axis + 1 :]


class GraphFile(Frozen):
    """One ONNX file of a base."""

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    """Without the banks."""
    outputs: tuple[TensorSpec, ...]
    banks: tuple[str, ...]
    """Names of the banks it takes as further inputs."""


class BaseSpec(Frozen):
    """What the service must know of a base checkpoint to prepare its inputs."""

    name: str
    kind: Kind
    architecture: str
    """``model_type`` of the Hugging Face config."""
    digest: str
    """sha256 over weights, config and tokenizer."""
    tokenizer_digest: str
    licence: str
    languages: tuple[str, ...]
    """BCP-47 tags it was trained on: served on slot 0 where no module is published."""
    width: int
    layers: int
    """Layers of the encoder."""
    decoder_layers: int = 0
    max_tokens: int
    """Longest row it reads, special tokens included."""
    pad_id: int
    eos_id: int
    mask_token: str | None = None
    mask_id: int | None = None
    first_position: int = 0
    """Position id of a row's first token (XLM-R: padding index + 1)."""
    token_types: int = 1
    """Size of the token type vocabulary; above 1 the body takes ``token_types``."""
    language_tokens: Mapping[str, int] = Field(default_factory=dict)
    """Translator: BCP-47 tag → id of its language token."""
    decoder_start_id: int | None = None


class Parity(Frozen):
    """What the export's check found against torch."""

    graph: str
    max_difference: float
    """Largest absolute difference; for int8 relative to the largest reference value."""
    tolerance: float


class GraphSpec(Frozen):
    """``graph.json``: every graph of a base in one precision, and the banks they take."""

    format_version: Literal[1] = FORMAT_VERSION
    base: BaseSpec
    precision: Precision
    graphs: Mapping[str, GraphFile]
    """Encoder: embed, body, fill_mask, one per task head. Translator: embed, encoder, decoder."""
    banks: tuple[BankSpec, ...]
    parity: tuple[Parity, ...]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads ``graph.json`` of a folder.

        Raises:
            ConfigError: no such file, or it does not validate.
        """
        path = folder / "graph.json"
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"no graphs in {folder}: run `langmod export`") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe(error)}") from error

    def save(self, folder: Path) -> None:
        """Writes ``graph.json`` in one step."""
        write_atomic(folder / "graph.json", self.model_dump_json(indent=2) + "\n")


class Metric(Frozen):
    """One score with all that is needed to get it again."""

    name: str
    value: float
    split: Literal["dev", "test"]
    language: str | None = None
    signature: str
    """Metric library, version and settings, e.g. sacrebleu's signature."""
    data: str
    """Digest of the data it was measured on."""


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
    """Of tokenizer.json."""


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
    """Of several modules that fit a request without a name the highest serves it; ties by name."""
    base: str
    base_digest: str
    tokenizer_digest: str
    tensors: tuple[TensorSpec, ...]
    sha256: str
    """Of slots.safetensors."""
    vocabulary: Vocabulary | None = None
    """Of a module with a ``tokenizer.json`` of its own; others read the base's tokens."""
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
