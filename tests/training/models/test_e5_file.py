"""The 4-bit file of multilingual-e5-small: written here at nano size, read back as a base."""

import struct

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from adaptation.architectures import load_base
from langmod.errors import ConfigError
from tests.bases import make_tokenizer
from training.models import adopt
from training.models.adopt import AdoptConfig, adopt_encoder
from training.models.e5_file import BLOCK, EMBEDDINGS, LAYER, read_e5

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 64, 48
NORMS = ("aln", "oln")


def blocks(values):
    """Q4: each block's largest number, by size, becomes -8 steps of its scale."""
    rows = values.reshape(-1, BLOCK)
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    scales = (largest / -8).astype(np.float16)
    steps = np.clip(np.round(rows / scales[:, None].astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = steps[:, :16] | steps[:, 16:] << 4
    held = (steps.astype(np.float32) - 8) * scales[:, None].astype(np.float32)
    return [s.tobytes() + p.tobytes() for s, p in zip(scales, packed, strict=True)], held


def drawn(pieces):
    """Random tensors by their names in the file; matrices have two axes."""
    random = np.random.default_rng(0)
    shapes = {
        "emb.word": (pieces + 3, WIDTH),
        "emb.pos": (POSITIONS, WIDTH),
        "emb.type": (2, WIDTH),
    }
    shapes |= {"emb.ln.w": (WIDTH,), "emb.ln.b": (WIDTH,)}
    for layer in range(LAYERS):
        for name in LAYER.values():
            rows = INNER if name == "fi" else WIDTH
            columns = INNER if name == "fo" else WIDTH
            shapes[f"l{layer}.{name}.w"] = (WIDTH,) if name in NORMS else (rows, columns)
            shapes[f"l{layer}.{name}.b"] = (rows,)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def written(path, pieces):
    """The file, and its tensors as they are to be read."""
    tensors = drawn(len(pieces))
    header = struct.pack("<4sI7ifi", b"E5S1", 1, WIDTH, LAYERS, HEADS, INNER, len(pieces) + 3,
                         POSITIONS, 2, 1e-12, BLOCK)  # fmt: skip
    names = [each.encode() for each in pieces]
    ends = np.cumsum([0, *map(len, names)]).astype("<u4")
    header += struct.pack("<5iQ", len(names), 0, 2, 1, 3, ends[-1]) + ends.tobytes()
    header += np.zeros(len(names), "<f4").tobytes() + b"".join(names)
    header += struct.pack("<iI", 0, 5) + b"\0" * 5
    bodies, held = {}, {}
    for name, values in tensors.items():
        packed = values.ndim == 2 and name not in ("emb.pos", "emb.type")
        parts, held[name] = blocks(values) if packed else ([values.tobytes()], values)
        bodies[name] = b"".join(parts)
    start = len(header) + 4 + sum(23 + len(name) for name in bodies)
    directory = struct.pack("<i", len(bodies))
    for name, body in bodies.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", 0, tensors[name].size, start, len(body))
        start += len(body)
    path.write_bytes(header + directory + b"".join(bodies.values()))
    return {name: each.reshape(tensors[name].shape) for name, each in held.items()}


@pytest.fixture
def packed(tmp_path):
    """A package's folder with the file, its tokenizer, and what the file's tensors are."""
    make_tokenizer(tmp_path, "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return tmp_path, written(tmp_path / "small.bin", pieces)


def test_every_tensor_is_read_to_its_place(packed):
    folder, tensors = packed
    model = read_e5(folder / "small.bin")[0].model
    for name, own in EMBEDDINGS.items():
        found = model.bert.embeddings.get_parameter(name)
        torch.testing.assert_close(found, torch.from_numpy(tensors[own]), rtol=0, atol=0)
    for layer in range(LAYERS):
        for part, own in LAYER.items():
            for end, letter in (("weight", "w"), ("bias", "b")):
                found = model.bert.encoder.layer[layer].get_parameter(f"{part}.{end}")
                wanted = torch.from_numpy(tensors[f"l{layer}.{own}.{letter}"])
                torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_file_and_a_tokenizer_become_a_base(packed, monkeypatch, tmp_path):
    folder, tensors = packed
    monkeypatch.setattr(adopt, "unpacked", lambda package, room: folder)
    settings = {"name": "small", "package": "a==1", "inside": "small.bin", "languages": ["mn"],
                "licence": "MIT", "max_tokens": 40, "out": tmp_path / "base"}  # fmt: skip
    spec = adopt_encoder(AdoptConfig.model_validate(settings | {"tokenizer_package": "b==1"}))
    assert (spec.max_tokens, spec.first_position, spec.token_types) == (40, 0, 2)
    words = load_base(tmp_path / "base").model.get_input_embeddings().weight
    torch.testing.assert_close(words, torch.from_numpy(tensors["emb.word"]).half().float())
    with pytest.raises(ConfigError, match=r"small\.bin needs `tokenizer_package`"):
        adopt_encoder(AdoptConfig.model_validate(settings))


def test_another_tokenizer_is_refused(packed, monkeypatch, tmp_path):
    folder, _ = packed
    written(folder / "small.bin", ["a", "b"])
    monkeypatch.setattr(adopt, "unpacked", lambda package, room: folder)
    settings = {"name": "small", "package": "a==1", "inside": "small.bin", "languages": ["mn"]}
    config = settings | {"tokenizer_package": "b==1", "licence": "MIT", "out": tmp_path / "base"}
    with pytest.raises(ConfigError, match=r"b==1 is no tokenizer of small\.bin"):
        adopt_encoder(AdoptConfig.model_validate(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"GGUF" + content[4:], "begins with b'GGUF'"),
        (lambda content: content[:4] + b"\2" + content[5:], "is of version 2"),
        (lambda content: content[:90], "cut off or damaged"),
        (lambda content: content[:-8], "no tensor l1.oln.b, or not all of it"),
    ],
)
def test_other_files_are_refused(packed, change, message):
    path = packed[0] / "small.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ConfigError, match=message):
        read_e5(path)
