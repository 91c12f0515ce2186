"""A translator of any shape with random weights, described and exported as shipped ones are.

It reads and writes text by a shipped base's tokenizer. What is built is kept in a folder, as a
large base takes minutes.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration

from benchmarks.experiment import RandomShape, Rivals
from export.graph import export_graphs
from langmod.bases import describe_base, load_spec

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SPREAD = 2.5
"""Times the weights of layers that M2M100 begins with: less, and a base says one word for ever."""


def base_of(asked: Rivals) -> Rivals:
    """The experiment on the base that it says: one of random weights is built if it is not there.

    Raises:
        ConfigError: the base whose tokenizer it takes is not described.
        ParityError: a graph that does not answer as torch does.
    """
    if asked.random is None:
        return asked
    shape = asked.random
    name = f"{asked.base}-{shape.layers}x{shape.width}-{shape.vocabulary}-{asked.seed}"
    models = asked.cache / "models"
    with kept(models / name, lambda folder: _build(folder, asked, shape)) as folder:
        if not (folder / "onnx" / asked.precision).is_dir():
            export_graphs(folder, asked.precision)
    return asked.model_copy(update={"models": models, "base": name})


@contextmanager
def kept(folder: Path | None, build: Callable[[Path], None]) -> Iterator[Path]:
    """What was built in a folder, once for all; without one, just for now."""
    if folder is not None and folder.is_dir():
        yield folder
        return
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder and folder.parent) as name:
        draft = Path(name) / (folder.name if folder else "built")
        draft.mkdir()
        build(draft)
        yield draft if folder is None else Path(shutil.move(draft, folder))


def _build(folder: Path, asked: Rivals, shape: RandomShape) -> None:
    base = asked.models / asked.base
    for name in TOKENIZER:
        shutil.copy(base / name, folder)
    config = M2M100Config.from_pretrained(
        base, d_model=shape.width, vocab_size=shape.vocabulary,
        encoder_layers=shape.layers, decoder_layers=shape.layers, num_hidden_layers=shape.layers,
        encoder_attention_heads=shape.heads, decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.feed_forward, decoder_ffn_dim=shape.feed_forward,
    )  # fmt: skip
    torch.manual_seed(asked.seed)
    model = M2M100ForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if ".layers." in name and parameter.dim() == 2:
            parameter.data.mul_(SPREAD)
    # Its logit is always 0, far below the largest of a vocabulary: no translation ends by itself.
    model.get_input_embeddings().weight.data[config.eos_token_id] = 0.0
    model.half().save_pretrained(folder)
    spec = load_spec(base)
    describe_base(folder, asked.base, spec.languages, spec.licence)
