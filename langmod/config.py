"""One frozen pydantic model per command, one yaml per run, overrides as ``key=value``."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from langmod.errors import ConfigError


class Frozen(BaseModel):
    """A value that never changes and refuses unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class RunConfig(Frozen):
    """The settings of one command, read from a yaml and saved beside what the command writes."""

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Reads a yaml, applies ``key=value`` overrides, checks every field.

        ``${oc.env:LANGMOD_DATA,../shared/data}`` in a yaml reads the environment.

        Raises:
            ConfigError: no such file, broken yaml, or fields that do not validate; all are listed.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        if not path.is_file():
            raise ConfigError(f"no config file {path} (working directory {Path.cwd()})")
        try:
            merged = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
            values = OmegaConf.to_container(merged, resolve=True)
            return cls.model_validate(values)
        except (YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"{path}: {error}") from error
        except ValidationError as error:
            raise ConfigError(f"{path}: {describe(error)}") from error

    def save(self, path: Path) -> None:
        """Writes the resolved settings as JSON beside the command's output."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def describe(error: ValidationError) -> str:
    """All faults of a pydantic validation on one line: field, what was wrong, what was got."""
    faults = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'value'}: {fault['msg']}"
        f" (got {fault['input']!r:.80})"
        for fault in error.errors()
    ]
    return "; ".join(faults)


def write_atomic(path: Path, text: str) -> None:
    """Replaces a small text file in one step, so that a reader sees the old or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
