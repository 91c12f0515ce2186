"""A translator of any shape with random weights, described and exported as shipped ones are.

It reads and writes text by a shipped base's tokenizer. What is built is kept in a folder, as a
large base takes minutes. Its graphs are those that a batch on the bare base runs: with slots, a
graph of a dozen layers takes longer to export than to measure.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration

import adaptation
import export
import langmod
from adaptation.architectures import load_base
from adaptation.bases import describe_base, load_spec
from adaptation.slotted import SlottedBase
from benchmarks.experiment import RandomShape, Rivals
from export.graph import described, export_file
from export.graphs import PlainGraph, SlottedGraph
from export.parity import check_graph
from export.translator_graphs import translator_graphs
from langmod.specs import GraphSpec, Precision

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MADE_BY = ".made-by"
"""In a folder that is kept: what it depends on besides its name."""
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
    numbers = (*shape.model_dump().values(), asked.seed)
    name = "-".join([asked.base, *map(str, numbers)])
    # Alone in its folder: a service that meets several translators has to be told which.
    models = asked.cache / "models" / name
    graphs = models / name / "onnx" / asked.precision
    with (
        kept(models / name, lambda folder: _build(folder, asked, shape)) as folder,
        kept(graphs, partial(_export, folder, asked.precision), code()),
    ):
        pass
    return asked.model_copy(update={"models": models, "base": name})


@contextmanager
def kept(folder: Path | None, build: Callable[[Path], None], made_by: str = "") -> Iterator[Path]:
    """What was built in a folder, until something else is to build it; without one, just now."""
    if folder is not None and folder.is_dir():
        if _builder(folder) == made_by:
            yield folder
            return
        shutil.rmtree(folder)
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder and folder.parent) as name:
        draft = Path(name) / (folder.name if folder else "built")
        draft.mkdir()
        build(draft)
        if made_by:
            (draft / MADE_BY).write_text(made_by)
        yield draft if folder is None else Path(shutil.move(draft, folder))


def _builder(folder: Path) -> str:
    file = folder / MADE_BY
    return file.read_text() if file.is_file() else ""


def code() -> str:
    """Differs when what makes our graphs was changed."""
    digest = hashlib.sha256()
    for package in (langmod, adaptation, export):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _export(base: Path, precision: Precision, folder: Path) -> None:
    """Every graph without slots, held against torch."""
    slotted = SlottedBase(load_base(base, attention="eager"))
    slotted.eval().requires_grad_(False)
    graphs: list[SlottedGraph] = [PlainGraph(graph) for graph in translator_graphs(slotted)]
    parity = []
    for graph in graphs:
        path = folder / f"{graph.name}.onnx"
        export_file(graph, path, precision)
        parity.append(check_graph(graph, path, precision))
    GraphSpec(
        base=load_spec(base),
        precision=precision,
        graphs={graph.name: described(graph, folder) for graph in graphs},
        banks=(),
        parity=tuple(parity),
    ).save(folder)


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
    describe_base(folder, folder.name, spec.languages, spec.licence)
