"""``graph.json``: the graphs of a base in one precision, and the banks they take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError

from langmod.config import Frozen, describe, write_atomic
from langmod.errors import ConfigError
from langmod.specs.base import BaseSpec
from langmod.specs.tensors import FORMAT_VERSION, BankSpec, Precision, TensorSpec


class GraphFile(Frozen):
    """One ONNX file of a base."""

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    """Without the banks."""
    outputs: tuple[TensorSpec, ...]
    banks: tuple[str, ...]
    """Names of the banks it takes as further inputs."""


class Parity(Frozen):
    """What the export's check found against torch."""

    graph: str
    max_difference: float
    """Largest absolute difference; for int8 1 less the smallest cosine of a row."""
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
