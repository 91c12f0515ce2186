"""Random modules for the tiny bases, strong enough that each gives other answers."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from langmod.specs import GraphSpec, ModuleManifest
from langmod.store import ModuleStore
from langmod.word_vectors import described
from training.tokenizer import TokenizerConfig, assemble, learn_pieces, save_tokenizer

ENTITIES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
TOPICS = ("science", "sport", "travel", "politics")
MOODS = ("bad", "good")


INVERTIBLE = ".invertible."


def random_tensors(graphs, role, method, *, rank=3, classes=2, seed=0, scale=0.6, invertible=False):
    """Every tensor of a method, and of a head if ``method`` ends in ``+<kind>``.

    Bottlenecks have an invertible adapter only if asked for.
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
    sizes = {"R": rank, "P": rank, "C": classes}
    return {
        bank.tensor: generator.normal(
            0, scale, [sizes[axis[0]] if isinstance(axis, str) else axis for axis in bank.row_shape]
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


def publish(
    folder,
    name,
    role,
    method,
    *,
    rank=3,
    seed=None,
    scale=0.6,
    invertible=False,
    store=None,
    **fields,
):
    """Publishes a random module for the base in a folder, beside it or in another store.

    Returns ``name@digest``.
    """
    graphs = GraphSpec.load(folder / "onnx" / "fp32")
    seed = sum(map(ord, name)) if seed is None else seed
    classes = len(fields.get("labels", ()))
    tensors = random_tensors(
        graphs,
        role,
        method,
        rank=rank,
        classes=classes,
        seed=seed,
        scale=scale,
        invertible=invertible,
    )
    manifest = random_manifest(graphs.base, name, role, method, **fields)
    return f"{name}@{ModuleStore(store or folder / 'modules').publish(manifest, tensors)}"


def publish_words(folder, name, lines, size, seed=0, **fields):
    """Publishes a random XPT module that reads with a vocabulary learnt from some lines.

    Returns the module.
    """
    graphs = GraphSpec.load(folder / "onnx" / "fp32")
    with TemporaryDirectory() as made:
        config = TokenizerConfig(corpus=made, output=made, kind="encoder", vocabulary=size)
        save_tokenizer(assemble(learn_pieces({"x": list(lines)}, config), config), config)
        about, text = described(Path(made)), (Path(made) / "tokenizer.json").read_bytes()
    generator = np.random.default_rng(seed)
    tensors = {}
    for bank in graphs.banks:
        if bank.tensor.startswith("xpt."):
            shape = [about.size if isinstance(axis, str) else axis for axis in bank.row_shape]
            near = 1.0 if bank.tensor.endswith("LayerNorm.weight") else 0.0
            tensors[bank.tensor] = generator.normal(near, 0.3, shape).astype(np.float32)
    manifest = random_manifest(graphs.base, name, "language", "xpt", vocabulary=about, **fields)
    digest = ModuleStore(folder / "modules").publish(manifest, tensors, text)
    return ModuleStore(folder / "modules").load(name, digest)


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
