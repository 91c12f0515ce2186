"""Random modules for the tiny bases, strong enough that each gives other answers."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from adaptation.word_vectors import described
from langmod.specs import GraphSpec, ModuleManifest
from langmod.store import ModuleStore
from training.models.tokenizer import TokenizerConfig, assemble, learn_pieces, save_tokenizer

ENTITIES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
TOPICS = ("science", "sport", "travel", "politics")
MOODS = ("bad", "good")


INVERTIBLE = ".invertible."


def random_tensors(
    graphs, role, method, *, rank=3, classes=2, tokens=0, seed=0, scale=0.6, invertible=False
):
    """Every tensor of a method, and of a head if ``method`` ends in ``+<kind>``.

    Bottlenecks have an invertible adapter only if asked for; factors of norms lie around 1.
    """
    generator = np.random.default_rng(seed)
    body, _, head = method.partition("+")
    banks = [
        bank
        for bank in graphs.banks
        if bank.role == role
        and bank.tensor.split(".")[0] in {body, head}
        and (invertible or INVERTIBLE not in bank.tensor)
    ]
    assert banks, (role, method)
    sizes = {"R": rank, "E": 1, "P": rank, "C": classes, "V": tokens}
    return {
        bank.tensor: generator.normal(
            float(bank.tensor.endswith("LayerNorm.weight")),
            scale,
            [sizes[axis[0]] if isinstance(axis, str) else axis for axis in bank.row_shape],
        ).astype(np.float32)
        for bank in banks
    }


def random_manifest(base, name, role, method, **fields):
    return ModuleManifest.model_validate(
        {
            "name": name,
            "role": role,
            "method": method.partition("+")[0],
            "base": base.name,
            "base_digest": base.digest,
            "tokenizer_digest": base.tokenizer_digest,
            "tensors": (),
            "sha256": "",
            "licence": "Apache-2.0",
            "data": "random",
            **fields,
        }
    )


def publish(folder, name, role, method, *, store=None, words=None, **fields):
    """Publishes a random module for the base in a folder, beside it or in another store.

    ``words`` are what ``learnt`` gives. Other fields are of the tensors or of the manifest. Returns
    ``name@digest``.
    """
    graphs = GraphSpec.load(folder / "onnx" / "fp32")
    drawn = {
        key: fields.pop(key) for key in ("rank", "seed", "scale", "invertible") if key in fields
    }
    drawn.setdefault("seed", sum(map(ord, name)))
    about, tokenizer = words or (None, None)
    sizes = {"classes": len(fields.get("labels", ())), "tokens": about.size if about else 0}
    tensors = random_tensors(graphs, role, method, **sizes, **drawn)
    manifest = random_manifest(graphs.base, name, role, method, vocabulary=about, **fields)
    published = ModuleStore(store or folder / "modules").publish(manifest, tensors, tokenizer)
    return f"{name}@{published}"


@cache
def learnt(lines, size):
    """A vocabulary of at most so many tokens from a tuple of lines, and its tokenizer.json."""
    with TemporaryDirectory() as made:
        config = TokenizerConfig(corpus=made, output=made, kind="encoder", vocabulary=size)
        save_tokenizer(assemble(learn_pieces({"x": list(lines)}, config), config), config)
        return described(Path(made)), (Path(made) / "tokenizer.json").read_bytes()


def publish_fleet(folder):
    """Languages and tasks of both methods, ranks and poolings."""
    publish(folder, "mn-bottleneck", "language", "bottleneck", rank=4, languages=("mn",))
    publish(folder, "ko-lora", "language", "lora", rank=2, languages=("ko",))
    publish(folder, "kk-bottleneck", "language", "bottleneck", rank=1, languages=("kk",))
    publish(folder, "eu-lora", "language", "lora", rank=3, languages=("eu",))
    topic = {"task": "topic", "kind": "classify", "labels": TOPICS, "languages": ("*",)}
    publish(folder, "topic-bottleneck", "task", "bottleneck+classify", **topic)
    ner = {"task": "ner", "kind": "tag", "labels": ENTITIES, "languages": ("ko", "kk")}
    publish(folder, "ner-lora", "task", "lora+tag", **ner)
    mood = {"task": "sentiment", "kind": "classify", "labels": MOODS, "languages": ("ko",)}
    publish(folder, "mood-lora", "task", "lora+classify", pooling="mean", **mood)
