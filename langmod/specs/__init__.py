"""The contract between stages as data: what one writes and another reads, a file a document.

Written by training and export, read by the service.
"""

from langmod.specs.base import BaseSpec
from langmod.specs.graph import GraphFile, GraphSpec, Parity
from langmod.specs.metric import SCORES_FILE, Metric, read_scores, write_scores
from langmod.specs.module import PROMPT, SHORTEST_TEXT, ModuleManifest, Vocabulary
from langmod.specs.run import BASE_FOLDER, HEAD_FILE, RUN_FILE, SETTINGS_FILE, ModuleRun
from langmod.specs.tensors import (
    FORMAT_VERSION,
    FP32_TOLERANCE,
    ROLES,
    ROW_TOLERANCE,
    Axis,
    BankSpec,
    Kind,
    Pooling,
    Precision,
    Role,
    TensorSpec,
)

__all__ = [
    "BASE_FOLDER",
    "FORMAT_VERSION",
    "FP32_TOLERANCE",
    "HEAD_FILE",
    "PROMPT",
    "ROLES",
    "ROW_TOLERANCE",
    "RUN_FILE",
    "SCORES_FILE",
    "SETTINGS_FILE",
    "SHORTEST_TEXT",
    "Axis",
    "BankSpec",
    "BaseSpec",
    "GraphFile",
    "GraphSpec",
    "Kind",
    "Metric",
    "ModuleManifest",
    "ModuleRun",
    "Parity",
    "Pooling",
    "Precision",
    "Role",
    "TensorSpec",
    "Vocabulary",
    "read_scores",
    "write_scores",
]
