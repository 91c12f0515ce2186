"""What can be asked of a base: one file per kind, found here by its ``kind``."""

import importlib
import pkgutil

from langmod.tasks.base import (
    DIGITS,
    TASKS,
    Example,
    HeadBatch,
    HeadTask,
    RunHead,
    Task,
    TaskAnswer,
    Text,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "DIGITS",
    "TASKS",
    "Example",
    "HeadBatch",
    "HeadTask",
    "RunHead",
    "Task",
    "TaskAnswer",
    "Text",
]
