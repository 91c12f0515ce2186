"""``export module``: a trained checkpoint to a published module, checked on the graphs it will run.

The same command takes runs of ``training module`` and folders that PEFT or AdapterHub wrote.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from adaptation.architectures import Architecture, load_base
from adaptation.banks import banks_of, stack_banks
from adaptation.bases import load_spec
from adaptation.foreign_settings import counted
from adaptation.methods import METHODS
from adaptation.rows import Rows
from adaptation.slot_sources import BankSource
from adaptation.slotted import SlottedBase
from export.checkpoint import Checkpoint, Faults, ModuleDescription, read_checkpoint
from export.comparison import Compared, compare
from export.encoder_graphs import encoder_graphs
from export.examined import Examined, Published
from export.graph import export_graphs
from export.graphs import Feed, Sizes, SlottedGraph
from export.libraries import Module
from export.parity import ParityError, run
from export.translator_graphs import translator_graphs
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.sessions import opened
from langmod.specs import (
    FP32_TOLERANCE,
    ROLES,
    BankSpec,
    BaseSpec,
    GraphSpec,
    ModuleManifest,
    Role,
)
from langmod.store import ModuleStore


def export_module(
    source: Path,
    base: Path,
    description: ModuleDescription | None = None,
    priority: int = 0,
    store: str | None = None,
) -> Published:
    """Publishes a checkpoint to ``<base>/modules``, or to a store as ``LANGMOD_STORE`` names it.

    Raises:
        ModuleMismatch: it does not fit the base, or several faults; all are listed.
        BrokenModule: files are missing or damaged.
        ParityError: the base with it answers unlike the library that it is of, or a graph unlike
            torch; nothing is published.
        ConfigError: the description lacks something, or no such kind of store.
        Unavailable: the store cannot be reached.
    """
    found = examine(source, base, description, priority, store)
    found.faults.refuse(found.name)
    assert found.manifest is not None, "there are no faults"
    assert found.store is not None, "there are no faults"
    tensors = {name: each.float().numpy() for name, each in found.checkpoint.tensors.items()}
    own = found.checkpoint.vocabulary
    digest = found.store.publish(found.manifest, tensors, own[1] if own else None)
    assert found.compared is not None, "there are no faults"
    return Published(found.name, digest, found.max_difference, found.compared, found.warning)


def examine(
    source: Path,
    base: Path,
    description: ModuleDescription | None = None,
    priority: int = 0,
    store: str | None = None,
) -> Examined:
    """Reads a checkpoint and checks all of it; publishes nothing.

    Raises:
        ConfigError: the base is not described, or its files changed since.
    """
    spec, faults = load_spec(base), Faults()
    slotted = SlottedBase(load_base(base, attention="eager")).eval().requires_grad_(False)
    checkpoint = Checkpoint(description or ModuleDescription(), "", {}, {})
    opened, manifest, difference, compared = None, None, math.nan, None
    with faults.gathered():
        opened = ModuleStore(store.replace("{base}", spec.name) if store else base / "modules")
    with faults.gathered():
        checkpoint = read_checkpoint(source, slotted.architecture, spec, description, faults)
        manifest = _manifest(checkpoint, spec, priority, faults)
        faults.add(manifest.name, _misfits(manifest, checkpoint, slotted.architecture, spec))
        if not faults:
            faults.add(manifest.name, manifest.lacking())
    if manifest is not None and not faults:
        with faults.gathered():
            compared = _compared(slotted, base, manifest.role, checkpoint)
            difference = check_module(slotted, base, manifest.role, checkpoint.tensors)
    return Examined(source, opened, checkpoint, manifest, difference, compared, faults)


def _compared(slotted: SlottedBase, base: Path, role: Role, checkpoint: Checkpoint) -> Compared:
    assert checkpoint.files is not None, "it was read"
    pooling = checkpoint.description.pooling
    module = Module(checkpoint.files, role, checkpoint.tensors, checkpoint.head, pooling)
    return compare(slotted, base, module)


def _misfits(
    manifest: ModuleManifest, checkpoint: Checkpoint, base: Architecture, spec: BaseSpec
) -> list[str]:
    """Why a module cannot run on a base."""
    method = METHODS.get(manifest.method)
    unfit = None if method is None else method.unfit(spec.kind, manifest.role)
    endless = counted(
        "holds numbers that are not finite",
        [name for name, each in checkpoint.tensors.items() if not each.isfinite().all()],
    )
    shaped = _shaped(manifest, checkpoint.tensors)
    return [*([unfit] if unfit else []), *shaped.misfits(spec, banks_of(base)), *endless]


def _manifest(
    checkpoint: Checkpoint, spec: BaseSpec, priority: int, faults: Faults
) -> ModuleManifest:
    about = checkpoint.description
    return ModuleManifest.model_validate(
        about.model_dump(exclude={"head"})
        | {
            # Without a name it is at fault, and the rest of it is checked all the same.
            "name": about.name or "unnamed",
            "languages": _tags(about.languages, faults),
            "priority": priority or about.priority,
            "method": checkpoint.method,
            "config": checkpoint.config,
            "base": spec.name,
            "base_digest": spec.digest,
            "tokenizer_digest": spec.tokenizer_digest,
            "vocabulary": checkpoint.vocabulary[0] if checkpoint.vocabulary else None,
            "tensors": (),
            "sha256": "",
        }
    )


def _tags(languages: Iterable[str], faults: Faults) -> list[str]:
    found = []
    for tag in languages:
        with faults.gathered():
            found.append(tag if tag == "*" else canonical(tag))
    return found


def _shaped(manifest: ModuleManifest, tensors: dict[str, Tensor]) -> ModuleManifest:
    described = [
        {"name": name, "dtype": "float32", "shape": tuple(tensor.shape)}
        for name, tensor in tensors.items()
    ]
    return ModuleManifest.model_validate(manifest.model_dump() | {"tensors": described})


def check_module(slotted: SlottedBase, base: Path, role: Role, tensors: dict[str, Tensor]) -> float:
    """Largest difference between torch and the fp32 graphs with the module in slot 1.

    Raises:
        ParityError: it is above the tolerance.
    """
    folder = fp32_graphs(slotted, base)
    encoder = slotted.architecture.kind == "encoder"
    graphs = encoder_graphs(slotted) if encoder else translator_graphs(slotted)
    differences = [torch.tensor(0.0)]
    for graph in graphs:
        feed = entered(graph, module_feed(graph, role, tensors), role, tensors)
        if feed.keys().isdisjoint({"slots", *(f"{role}.{name}" for name in tensors)}):
            continue
        session = opened(folder / f"{graph.name}.onnx")
        with torch.no_grad():
            expected = graph(feed)
        found = run(session, feed)
        for name, reference in expected.items():
            if reference.is_floating_point() and reference.numel():
                differences.append((reference - torch.from_numpy(found[name])).abs().max())
    worst = float(torch.stack(differences).max())  # nan, where any is
    if not worst <= FP32_TOLERANCE:
        raise ParityError(f"the graphs differ from torch by {worst:.2e} with this module")
    return worst


def fp32_graphs(slotted: SlottedBase, base: Path) -> Path:
    """The folder of the base's fp32 graphs, exported anew when absent or of other methods."""
    folder = base / "onnx" / "fp32"
    try:
        found = GraphSpec.load(folder)
        # A head for words that was trained since reads other layers.
        current = found.banks == banks_of(slotted.architecture) and found.base == load_spec(base)
    except ConfigError:
        current = False
    if not current:
        export_graphs(base, "fp32")
    return folder


def module_feed(graph: SlottedGraph, role: Role, tensors: dict[str, Tensor]) -> Feed:
    """An example feed whose first row is the bare base and whose other rows run the module.

    Graphs that take a module's tensors as inputs run it in every row.
    """
    feed = graph.example(Sizes(slots=2))
    given = {f"{role}.{name}": tensor for name, tensor in tensors.items()}
    feed |= {name: given[name] for name in feed.keys() & given.keys()}
    if "slots" in feed:
        feed["slots"][1:] = 0
        feed["slots"][1:, ROLES.index(role)] = 1
    filled = stack_banks(graph.banks, [(role, tensors)])
    return feed | {bank.name: filled.get(bank.name, empty_bank(bank)) for bank in graph.banks}


def entered(graph: SlottedGraph, feed: Feed, role: Role, tensors: dict[str, Tensor]) -> Feed:
    """A feed with what the module puts around its rows, which no graph does."""
    if "words" not in feed:
        return feed
    banks = stack_banks(banks_of(graph.slotted.architecture), [(role, tensors)])
    rows = Rows(None, feed["words"], feed["mask"], feed.get("token_types"))
    with graph.slotted.using(BankSource(banks, feed["slots"])):
        rows = graph.slotted.enter(rows)
    read = {"words": rows.words, "mask": rows.mask, "token_types": rows.token_types}
    if "positions" in feed:
        count = torch.arange(rows.words.shape[1]).expand(rows.mask.shape)
        read["positions"] = count + feed["positions"][:, :1]
    return feed | {name: value for name, value in read.items() if value is not None}


def empty_bank(bank: BankSpec) -> Tensor:
    """A bank with slot 0 and one more, and nothing in them."""
    slots = f"S.{bank.role}"
    return torch.zeros(
        [2 if axis == slots else 0 if isinstance(axis, str) else axis for axis in bank.shape]
    )
