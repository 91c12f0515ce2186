"""``run.json``: a trained module, for whoever exports or scores it; and the files beside it."""

import json
from pathlib import Path
from typing import Literal, Self

from langmod.config import Frozen, write_atomic
from langmod.errors import ConfigError
from langmod.specs.tensors import Pooling, Role

RUN_FILE = "run.json"
SETTINGS_FILE = "training.json"
"""What the run was asked for, as its command reads it."""
HEAD_FILE = "head.safetensors"
"""The tensors of a task's head; the module's own lie in a folder of the module's name, in the
format of its method's library."""
BASE_FOLDER = "base"
"""Where a base that learned too is kept, as a base of its own."""


class ModuleRun(Frozen):
    """What a checkpoint is and what it is for; once published, ``module.json`` says the same."""

    name: str
    role: Role
    method: str
    train: Literal["module", "head", "base", "both"]
    """What learned; only a run that trained a module alone can be published."""
    base: str
    base_digest: str
    languages: tuple[str, ...]
    source: str | None = None
    target: str | None = None
    task: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    pooling: Pooling = "first"
    data: str
    licence: str
    steps: int
    trained_parameters: int
    final_loss: float

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads ``run.json``.

        Raises:
            ConfigError: no finished run there.
        """
        try:
            return cls.model_validate_json((folder / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder} holds no finished run of `langmod module`") from error

    def save(self, folder: Path) -> None:
        """Writes ``run.json`` in one step: a run is finished once it has one."""
        write_atomic(folder / RUN_FILE, json.dumps(self.model_dump(), indent=2) + "\n")
