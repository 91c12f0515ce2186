"""Tiny modules and banks for the tests of the service."""

import numpy as np

from langmod.specs import BankSpec, ModuleManifest
from langmod.store import Module

WIDTH = 3
BANKS = (
    BankSpec(name="language.down", role="language", shape=(2, "S.language", WIDTH, "R.language")),
    BankSpec(name="language.up", role="language", shape=(2, "S.language", "R.language", WIDTH)),
    BankSpec(name="language.bias", role="language", shape=("S.language", WIDTH)),
    BankSpec(name="task.out", role="task", shape=("S.task", WIDTH, "C.task")),
)
WORDS = {"size": 9, "pad_id": 1, "eos_id": 2, "mask_token": "<mask>", "mask_id": 3, "sha256": ""}
"""What a manifest says of a vocabulary."""


def manifest(name, role="language", **fields):
    return ModuleManifest.model_validate(
        {
            "name": name,
            "role": role,
            "method": "bottleneck",
            "base": "tiny",
            "base_digest": "b" * 64,
            "tokenizer_digest": "t" * 64,
            "tensors": (),
            "sha256": "",
            "licence": "Apache-2.0",
            "data": "none",
            **fields,
        }
    )


def tensors(role="language", rank=2, value=1.0):
    if role == "task":
        return {"out": np.full((WIDTH, rank), value, np.float32)}
    return {
        "down": np.full((2, WIDTH, rank), value, np.float32),
        "up": np.full((2, rank, WIDTH), value, np.float32),
    }


def module(name, role="language", rank=2, value=1.0, digest="0" * 12):
    return Module(manifest(name, role), digest, tensors(role, rank, value))
