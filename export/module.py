"""``export module``: a trained checkpoint to a published module, checked on the graphs it will run.

The same command takes runs of ``training module`` and folders that PEFT or AdapterHub wrote.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
import torch
from safetensors.torch import load_file
from torch import Tensor

from export.encoder_graphs import encoder_graphs
from export.graph import export_graphs
from export.graphs import Feed, Sizes, SlottedGraph
from export.parity import ParityError, run
from export.translator_graphs import translator_graphs
from langmod.architectures import load_base
from langmod.bases import load_spec
from langmod.config import Frozen
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.languages import canonical
from langmod.methods import METHODS
from langmod.rows import Rows
from langmod.slotted import BankSource, SlottedBase, banks_of, stack_banks
from langmod.specs import (
    FP32_TOLERANCE,
    ROLES,
    BankSpec,
    BaseSpec,
    GraphSpec,
    Metric,
    ModuleManifest,
    Role,
    Vocabulary,
)
from langmod.store import ModuleStore


class ModuleDescription(Frozen):
    """What a checkpoint does not say of itself; a run of ours says all of it in ``run.json``."""

    name: str
    role: Role = "language"
    languages: tuple[str, ...] = ()
    source: str | None = None
    target: str | None = None
    task: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    pooling: str = "first"
    licence: str = "unknown"
    data: str = "unknown"
    priority: int = 0
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read for a base: tensors as banks take them."""

    description: ModuleDescription
    method: str
    config: dict[str, object]
    tensors: dict[str, Tensor]
    vocabulary: tuple[Vocabulary, bytes] | None = None
    """What it brings, and its ``tokenizer.json``."""


@dataclass(frozen=True)
class Published:
    """Where a module went, and how near its graphs are to torch."""

    name: str
    digest: str
    max_difference: float


def export_module(
    source: Path,
    base: Path,
    description: ModuleDescription | None = None,
    priority: int = 0,
    store: str | None = None,
) -> Published:
    """Publishes a checkpoint to ``<base>/modules``, or to a store as ``LANGMOD_STORE`` names it.

    Raises:
        ModuleMismatch: it does not fit the base; every fault is listed.
        BrokenModule: files are missing or damaged.
        ParityError: a graph answers unlike torch with it; nothing is published.
        ConfigError: no such kind of store.
        Unavailable: the store cannot be reached.
    """
    spec = load_spec(base)
    published = ModuleStore(store.replace("{base}", spec.name) if store else base / "modules")
    slotted = SlottedBase(load_base(base, attention="eager")).eval().requires_grad_(False)
    checkpoint = read_checkpoint(source, slotted, spec, description)
    manifest = _manifest(checkpoint, spec, priority)
    banks = banks_of(slotted.architecture)
    faults = _shaped(manifest, checkpoint.tensors).faults(spec, banks)
    if faults:
        raise ModuleMismatch(manifest.name, faults)
    difference = check_module(slotted, base, manifest.role, checkpoint.tensors)
    tensors = {name: tensor.float().numpy() for name, tensor in checkpoint.tensors.items()}
    tokenizer = checkpoint.vocabulary[1] if checkpoint.vocabulary else None
    digest = published.publish(manifest, tensors, tokenizer)
    return Published(manifest.name, digest, difference)


def read_checkpoint(
    source: Path, slotted: SlottedBase, spec: BaseSpec, description: ModuleDescription | None
) -> Checkpoint:
    """A run of ours, or a plain PEFT or AdapterHub folder with a description.

    Raises:
        ConfigError: a plain folder without a description.
        BrokenModule: neither kind of checkpoint.
        ModuleMismatch: made for another base.
    """
    run_file = source / "run.json"
    if run_file.is_file():
        return _own_run(source, slotted, spec)
    if description is None:
        raise ConfigError(f"{source} has no run.json: say --name and --language (or --task)")
    method = _known_method(source)
    config, tensors = METHODS[method].read(source, slotted.architecture)
    description = description.model_copy(update=METHODS[method].about(source))
    own = METHODS[method].vocabulary(source)
    return Checkpoint(description, method, config.model_dump(mode="json"), tensors, own)


def _own_run(source: Path, slotted: SlottedBase, spec: BaseSpec) -> Checkpoint:
    try:
        run = json.loads((source / "run.json").read_text(encoding="utf-8"))
        if run["train"] != "module":
            raise ConfigError(f"{source} is a baseline (train: {run['train']}), not a module")
        if run["base_digest"] != spec.digest:
            raise ModuleMismatch(
                run["name"], [f"trained on {run['base']} {run['base_digest'][:12]}, "
                              f"this is {spec.name} {spec.digest[:12]}"]
            )  # fmt: skip
        fields = {key: run[key] for key in ModuleDescription.model_fields if key in run}
        description = ModuleDescription.model_validate(fields)
        method = METHODS[run["method"]]
    except (ValueError, KeyError) as error:
        raise BrokenModule(f"{source}/run.json is no run of ours: {error!r}") from error
    config, tensors = method.read(source / run["name"], slotted.architecture)
    head = source / "head.safetensors"
    if head.is_file():
        tensors |= load_file(head)
    description = description.model_copy(update={"metrics": _metrics(source)})
    own = method.vocabulary(source / run["name"])
    return Checkpoint(description, run["method"], config.model_dump(mode="json"), tensors, own)


def _metrics(source: Path) -> tuple[Metric, ...]:
    scores = source / "scores.json"
    if not scores.is_file():
        return ()
    rows = json.loads(scores.read_text(encoding="utf-8"))["metrics"]
    return tuple(Metric.model_validate(row) for row in rows if row["split"] == "dev")


def _known_method(source: Path) -> str:
    """Which method's format a plain folder is in."""
    found = [name for name, method in METHODS.items() if method.recognises(source)]
    if not found:
        raise BrokenModule(f"{source} is no checkpoint of: {', '.join(METHODS)}")
    return found[0]


def _manifest(checkpoint: Checkpoint, spec: BaseSpec, priority: int) -> ModuleManifest:
    about = checkpoint.description
    fields = about.model_dump()
    fields["languages"] = [tag if tag == "*" else canonical(tag) for tag in about.languages]
    return ModuleManifest.model_validate(
        fields
        | {
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
    worst = 0.0
    for graph in graphs:
        feed = entered(graph, module_feed(graph, role, tensors), role, tensors)
        if feed.keys().isdisjoint({"slots", *(f"{role}.{name}" for name in tensors)}):
            continue
        session = ort.InferenceSession(
            str(folder / f"{graph.name}.onnx"), providers=["CPUExecutionProvider"]
        )
        with torch.no_grad():
            expected = graph(feed)
        found = run(session, feed)
        for name, reference in expected.items():
            if reference.is_floating_point() and reference.numel():
                difference = float((reference - torch.from_numpy(found[name])).abs().max())
                worst = max(worst, difference)
    if not worst <= FP32_TOLERANCE:
        raise ParityError(f"the graphs differ from torch by {worst:.2e} with this module")
    return worst


def fp32_graphs(slotted: SlottedBase, base: Path) -> Path:
    """The folder of the base's fp32 graphs, exported anew when absent or of other methods."""
    folder = base / "onnx" / "fp32"
    try:
        current = GraphSpec.load(folder).banks == banks_of(slotted.architecture)
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
    return feed | {bank.name: filled.get(bank.name, _empty(bank)) for bank in graph.banks}


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


def _empty(bank: BankSpec) -> Tensor:
    slots = f"S.{bank.role}"
    return torch.zeros(
        [2 if axis == slots else 0 if isinstance(axis, str) else axis for axis in bank.shape]
    )
