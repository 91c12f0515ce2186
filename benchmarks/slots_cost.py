"""What slots cost: an encoder's body with many modules in its slots beside the same body without.

Both graphs are exported here from one base with random weights, so that any width can be measured,
and run as the service runs them.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from adaptation.architectures import Architecture, EncoderArchitecture
from adaptation.banks import stack_banks
from adaptation.methods import METHODS, Method
from adaptation.slotted import SlottedBase
from benchmarks.experiment import Mix, RandomBase, SlotsCost
from benchmarks.result import LIBRARIES, Circumstances
from benchmarks.side_by_side import CostPoint, CostResult
from benchmarks.turns import in_turns
from export.encoder_graphs import Body
from export.graph import described, export_beside
from export.graphs import PlainGraph, SlottedGraph
from langmod.machine import Machine, commit, versions
from langmod.specs import ROLES, BankSpec, Role
from service.session import Array, Graph
from service.settings import Settings
from service.tables import Table

WORDS = 300
"""Of the vocabulary, which costs nothing here."""
HEAD = 64
"""Features of an attention head."""
NOISE = 0.02
"""Added to a fresh module's tensors, most of which begin as zeros."""
Tables = Mapping[str, Table]


def measure_slots(asked: SlotsCost) -> CostResult:
    """Every batch through the plain graph and with every mix, in turns."""
    circumstances = Circumstances(
        machine=Machine.here(),
        versions=versions((*LIBRARIES, "torch")),
        commit=commit(),
        bases=(),
    )
    base = random_base(asked)
    slotted = SlottedBase(base)
    slotted.eval().requires_grad_(False)
    body = Body(slotted)
    with tempfile.TemporaryDirectory() as folder:
        full, plain = graphs(body, Path(folder), asked)
    tables = {mix: tables_of(body.banks, modules_of(base, mix, asked)) for mix in asked.mixes}
    points = []
    for rows, tokens in asked.batches:
        feed = batch(rows, tokens, asked)
        runs: dict[Mix | None, Callable[[], object]] = {None: partial(plain.run, feed)}
        for mix in asked.mixes:
            own = {**feed, "slots": slots_of(rows, mix, asked.modules)}
            runs[mix] = partial(full.run, own, tables[mix])
        _, times = in_turns(runs, asked.repetitions)
        bare = tuple(times[None])
        points += [
            CostPoint(rows=rows, tokens=tokens, mix=mix, milliseconds=tuple(times[mix]), plain=bare)
            for mix in asked.mixes
        ]
    return CostResult(experiment=asked, circumstances=circumstances, points=tuple(points))


def random_base(asked: RandomBase) -> EncoderArchitecture:
    """Of the asked width and depth; its vocabulary is small."""
    torch.manual_seed(asked.seed)
    config = XLMRobertaConfig(
        vocab_size=WORDS,
        hidden_size=asked.width,
        num_hidden_layers=asked.layers,
        num_attention_heads=max(asked.width // HEAD, 1),
        intermediate_size=4 * asked.width,
        max_position_embeddings=514,
        type_vocab_size=1,
        attn_implementation="eager",
    )
    return EncoderArchitecture(XLMRobertaForMaskedLM(config).eval())


def graphs(body: Body, folder: Path, asked: SlotsCost) -> tuple[Graph, Graph]:
    """With slots and without, opened as the service opens them."""
    plain = folder / "plain"
    plain.mkdir()
    export_beside(body, plain, folder, asked.precision)
    return _opened(body, folder, asked), _opened(PlainGraph(body), plain, asked)


def _opened(graph: SlottedGraph, folder: Path, asked: SlotsCost) -> Graph:
    spec = described(graph, folder)
    return Graph(folder / spec.file, spec, Settings(threads=asked.threads))


def methods_of(mix: Mix) -> Sequence[Method]:
    """Whose modules a mix holds: every method that changes what layers compute."""
    every = [method for name, method in METHODS.items() if name not in {"soft_prompt", "xpt"}]
    named = {"bare": [], "lora": [METHODS["lora"]], "bottleneck": [METHODS["bottleneck"]]}
    return named.get(mix, every)


def modules_of(
    base: Architecture, mix: Mix, asked: RandomBase
) -> list[tuple[Role, dict[str, Tensor]]]:
    """Random modules of each role that a mix fills, their methods in turn."""
    roles = ROLES if mix == "every kind twice" else ROLES[:1]
    methods = methods_of(mix)
    return [
        (role, _module(methods[number % len(methods)], base, number))
        for role in roles
        for number in range(asked.modules if methods else 0)
    ]


def _module(method: Method, base: Architecture, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    fresh = method.fresh(method.Config(), base, generator)
    return {
        name: tensor + NOISE * torch.randn(tensor.shape, generator=generator)
        for name, tensor in fresh.items()
    }


def tables_of(
    banks: Sequence[BankSpec], modules: Sequence[tuple[Role, Mapping[str, Tensor]]]
) -> Tables:
    """The banks of some modules; those that none fills are empty."""
    filled = stack_banks(banks, modules)
    slots = {role: 1 + sum(own == role for own, _ in modules) for role in ROLES}
    return {
        bank.name: Table(
            filled[bank.name].numpy() if bank.name in filled else _empty(bank, slots[bank.role])
        )
        for bank in banks
    }


def _empty(bank: BankSpec, slots: int) -> Array:
    free = {f"S.{bank.role}": slots}
    shape = [free.get(axis, 0) if isinstance(axis, str) else axis for axis in bank.shape]
    return np.zeros(shape, np.float32)


def batch(rows: int, tokens: int, asked: SlotsCost) -> dict[str, Array]:
    """Random word vectors of rows of equal length."""
    generator = np.random.default_rng(asked.seed)
    return {
        "words": generator.standard_normal((rows, tokens, asked.width)).astype(np.float32),
        "mask": np.ones((rows, tokens), np.int64),
        "positions": np.tile(np.arange(tokens) + 2, (rows, 1)),
    }


def slots_of(rows: int, mix: Mix, modules: int) -> Array:
    """``[B, 2]``: a row's language and task modules are of different methods."""
    found = np.zeros((rows, len(ROLES)), np.int64)
    if mix != "bare":
        found[:, 0] = 1 + np.arange(rows) % modules
    if mix == "every kind twice":
        found[:, 1] = 1 + (np.arange(rows) + 1) % modules
    return found
