"""What slots cost: an encoder's body with many modules in its slots beside the same body without.

Both graphs are exported here from one base with random weights, so that any width can be measured,
and run as the service runs them.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.experiment import Answers, Column, Figures, Inputs, Ratio, Times, Ways, constant
from benchmarks.random_encoder import FIRST, Mix, RandomEncoder, Tables, tables_of
from export.encoder_graphs import Body
from export.graph import described, export_beside
from export.graphs import PlainGraph, SlottedGraph
from langmod.specs import ROLES, Precision
from service.session import Array, Graph
from service.settings import Settings

MIXES: dict[Mix, str] = {
    "bare": "bare base",
    "lora": "LoRA",
    "bottleneck": "bottleneck",
    "every kind": "every method in turn",
    "every kind twice": "every method in turn, in both roles",
}


class SlotsCost(RandomEncoder):
    """Run an encoder's body with modules in its slots and without slots in turns."""

    kind = "slots"
    heads = ("rows x tokens", "modules")
    columns = (Column("ms", ".1f"),)
    ratio = Ratio("÷ graph without slots", "ms", inverse=True)
    caption = (
        "Milliseconds of the body of an encoder of XLM-R's architecture with random weights, "
        "{layers} x {width}, {precision}; {modules} modules with the methods' own defaults in the "
        "slots of a role, rows take them in turn."
    )

    precision: Precision = "int8"
    batches: tuple[tuple[int, int], ...] = ((1, 16), (8, 32), (32, 32))
    """Rows and tokens."""
    mixes: tuple[Mix, ...] = tuple(MIXES)
    repetitions: int = 15

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plain = folder / "plain"
        plain.mkdir()
        slotted = self.slotted()
        body = Body(slotted)
        export_beside(body, plain, folder, self.precision)
        full, without = self.graph(body, folder), self.graph(PlainGraph(body), plain)
        arms: dict[str, Ways] = {"graph without slots": {"": without.run}}
        for mix in self.mixes:
            tables = tables_of(body.banks, self.modules_of(slotted.architecture, mix))
            arms[MIXES[mix]] = {"": partial(self.run, full, mix, tables)}
        return arms

    def graph(self, graph: SlottedGraph, folder: Path) -> Graph:
        """A graph, opened as the service opens it."""
        spec = described(graph, folder)
        return Graph(folder / spec.file, spec, Settings(threads=self.threads))

    def run(self, graph: Graph, mix: Mix, tables: Tables, feed: dict[str, Array]) -> object:
        """Runs rows with their modules; a row's two modules are of different methods."""
        rows = np.arange(len(feed["words"]))
        slots = np.zeros((len(rows), len(ROLES)), np.int64)  # [B, 2]
        if mix != "bare":
            slots[:, 0] = 1 + rows % self.modules
        if mix == "every kind twice":
            slots[:, 1] = 1 + (rows + 1) % self.modules
        return graph.run({**feed, "slots": slots}, tables)

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        for rows, tokens in self.batches:
            draw = np.random.default_rng(self.seed)
            feed = {
                "words": draw.standard_normal((rows, tokens, self.width)).astype(np.float32),
                "mask": np.ones((rows, tokens), np.int64),
                "positions": np.tile(np.arange(tokens) + FIRST, (rows, 1)),
            }
            yield f"{rows} x {tokens}", constant(feed)

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        return {"ms": tuple(times)}
