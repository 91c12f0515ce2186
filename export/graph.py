"""``export graph``: a base checkpoint to the ONNX graphs and ``graph.json`` the service loads."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from optimum.exporters.onnx import export, validate_model_outputs

from adaptation.architectures import load_base
from adaptation.banks import banks_of
from adaptation.bases import load_spec
from adaptation.slotted import SlottedBase
from export.bare_rows import either_way
from export.encoder_graphs import encoder_graphs
from export.graphs import PlainGraph, SlottedGraph
from export.onnx_config import SlottedOnnxConfig
from export.parity import check_graph
from export.quantize import quantize_products
from export.tables import pack_vocabulary, shrink_tables
from export.translator_graphs import translator_graphs
from langmod.digests import file_digest
from langmod.specs import GraphFile, GraphSpec, Parity, Precision


def export_graphs(
    base: Path, precision: Precision, out: Path | None = None, slots: bool = True
) -> GraphSpec:
    """Exports every graph of a described base to ``<base>/onnx/<precision>`` (or ``out``).

    Without slots, graphs take no modules: they are those of a batch on the bare base. The folder
    appears only when all graphs passed Optimum's validation and our parity check.

    Raises:
        ParityError: a graph does not answer as torch does; nothing is left behind.
        ConfigError: the base is not described, or its files changed since.
    """
    spec = load_spec(base)
    slotted = SlottedBase(load_base(base, attention="eager"))
    slotted.eval().requires_grad_(False)
    graphs = encoder_graphs(slotted) if spec.kind == "encoder" else translator_graphs(slotted)
    if not slots:
        graphs = [PlainGraph(graph) for graph in graphs]
    target = out or base / "onnx" / precision
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as draft_name:
        draft = Path(draft_name) / precision
        draft.mkdir()
        parity = [export_one(graph, draft, precision) for graph in graphs]
        found = GraphSpec(
            base=spec,
            precision=precision,
            graphs={graph.name: described(graph, draft) for graph in graphs},
            banks=banks_of(slotted.architecture) if slots else (),
            parity=tuple(parity),
        )
        found.save(draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    return found


def export_one(graph: SlottedGraph, folder: Path, precision: Precision) -> Parity:
    """Exports one graph, with a way past its slots where it runs layers, and checks it."""
    if not graph.layered:
        path = folder / f"{graph.name}.onnx"
        export_file(graph, path, precision)
        return check_graph(graph, path, precision)
    with tempfile.TemporaryDirectory(dir=folder) as plain:
        return export_beside(graph, Path(plain), folder, precision)


def export_beside(graph: SlottedGraph, plain: Path, folder: Path, precision: Precision) -> Parity:
    """Exports a graph that runs layers; leaves the graph without slots in a folder beside."""
    path, without = folder / f"{graph.name}.onnx", PlainGraph(graph)
    beside = plain / f"{without.name}.onnx"
    export_file(graph, path, precision)
    export_file(without, beside, precision)
    onnx.save(either_way(onnx.load(path), onnx.load(beside)), path)
    return check_graph(graph, path, precision)


def export_file(graph: SlottedGraph, path: Path, precision: Precision) -> None:
    """Exports through Optimum and makes the file small."""
    config = SlottedOnnxConfig(graph)
    with without_lint():
        _, outputs = export(graph, config, path, opset=config.DEFAULT_ONNX_OPSET)
    validate_model_outputs(config, graph, path, outputs, use_subprocess=False)
    if precision == "int8":
        pack_vocabulary(path)
        quantize_products(path, path)
    shrink_tables(path, lossy=precision == "int8")


@contextmanager
def without_lint() -> Iterator[None]:
    """Torch's exporter checks its own graph after each of its passes: two fifths of an export.

    The checks change nothing; a graph that is wrong is found out by its answers.
    """
    library: Any = torch._C  # noqa: SLF001  (there is no public switch)
    lint = library._jit_pass_lint  # noqa: SLF001
    library._jit_pass_lint = lambda graph: None  # noqa: SLF001
    try:
        yield
    finally:
        library._jit_pass_lint = lint  # noqa: SLF001


def described(graph: SlottedGraph, folder: Path) -> GraphFile:
    """What ``graph.json`` says of an exported graph."""
    path = folder / f"{graph.name}.onnx"
    return GraphFile(
        file=path.name,
        sha256=file_digest(path),
        inputs=graph.takes,
        outputs=graph.gives,
        banks=tuple(bank.name for bank in graph.banks),
    )
