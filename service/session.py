"""The graphs of one base in ONNX Runtime: numpy in, numpy out, banks kept on the device."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from langmod.digests import file_digest
from langmod.errors import ConfigError, Unavailable
from langmod.sessions import exact_options
from langmod.specs import GraphFile, GraphSpec
from service.optimised import optimised_session
from service.settings import Provider, Settings
from service.tables import Table

PROVIDERS: dict[Provider, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
Array = npt.NDArray[Any]
OPTIMISED = "graphs"
"""Folder in the cache."""
QUIET = 3
"""ONNX Runtime's log level for errors only."""
NARROW = 512
"""Width of a base below which its products are so small that threads lose more by sharing one than
they save."""


class Graph:
    """One ONNX file, ready to run."""

    def __init__(self, path: Path, spec: GraphFile, settings: Settings, arena: bool = True) -> None:
        """Opens the file; without an ``arena`` its memory comes from the system each time.

        Raises:
            ConfigError: the file is missing or not the one graph.json describes.
            Unavailable: the provider asked for is not active.
        """
        if not path.is_file() or file_digest(path) != spec.sha256:
            raise ConfigError(f"{path} is not the file graph.json describes: export the base again")
        self.spec = spec
        self.inputs = frozenset(tensor.name for tensor in spec.inputs)
        self._outputs = [tensor.name for tensor in spec.outputs]
        self._device = settings.provider
        self._session = _session(path, spec.sha256, settings, arena)
        self._session.disable_fallback()
        active = self._session.get_providers()[0]
        if active != PROVIDERS[settings.provider]:
            raise Unavailable(
                f"provider {settings.provider} was asked for but {active} is active: check the "
                "driver and CUDA libraries, or set LANGMOD_PROVIDER=cpu"
            )
        self._local = threading.local()

    def run(
        self,
        feeds: Mapping[str, Array | ort.OrtValue],
        tables: Mapping[str, Table] | None = None,
        keep: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Runs the graph.

        Args:
            feeds: its inputs without the banks, at least.
            tables: the banks of the batch, where the graph takes any.
            keep: outputs that stay on the device, to be fed to a graph again.
        """
        binding = self._binding(feeds, tables or {})
        binding.clear_binding_outputs()
        for name in self._outputs:
            binding.bind_output(name, self._device if name in keep else "cpu")
        self._session.run_with_iobinding(binding)
        values = zip(self._outputs, binding.get_outputs(), strict=True)
        return {name: value if name in keep else value.numpy() for name, value in values}

    def _binding(
        self, feeds: Mapping[str, Array | ort.OrtValue], tables: Mapping[str, Table]
    ) -> ort.IOBinding:
        """This thread's binding; only what is another value than in the last run is bound anew.

        A graph takes over a hundred banks: to bind them in every step of a translation would take
        as long as the step.
        """
        if not hasattr(self._local, "binding"):
            self._local.binding, self._local.bound = self._session.io_binding(), {}
        binding, bound = self._local.binding, self._local.bound
        for name in self.spec.banks if tables else ():
            # A table's tensor is changed in place, but a changed one is another table.
            if bound.get(name) is not tables[name]:
                value = ort.OrtValue.ortvalue_from_numpy(tables[name].tensor, self._device, 0)
                binding.bind_ortvalue_input(name, value)
                bound[name] = tables[name]
        for name in self.inputs & feeds.keys():
            if bound.get(name) is not feeds[name]:
                bound[name] = _bind(binding, name, feeds[name])
        return binding


def _bind(binding: ort.IOBinding, name: str, value: Array | ort.OrtValue) -> Array | ort.OrtValue:
    """What was bound: the value, or a copy whose numbers lie in order."""
    if isinstance(value, ort.OrtValue):
        binding.bind_ortvalue_input(name, value)
        return value
    ordered = np.ascontiguousarray(value)
    binding.bind_cpu_input(name, ordered)
    return ordered


class GraphSet:
    """All graphs of one base in one precision."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Reads ``onnx/<precision>`` of a base's folder.

        Raises:
            ConfigError: no such precision, or a file that is not what graph.json says.
            Unavailable: the provider asked for is not active.
        """
        graphs = folder / "onnx" / settings.precision
        self.spec = GraphSpec.load(graphs)
        self.base = self.spec.base
        narrow = settings.provider == "cpu" and self.base.width < NARROW
        self.side_by_side = settings.threads if narrow else 1
        """Runs that are to go on at once, each on threads of its own."""
        own = settings.model_copy(update={"threads": settings.threads // self.side_by_side})
        # Runs side by side wait for one another at an arena, hundreds of times in each of a
        # translation's short steps. An encoder has one long run instead, and its arena less memory.
        arena = not (narrow and self.base.kind == "translator")
        self._graphs = {
            name: Graph(graphs / file.file, file, own, arena)
            for name, file in self.spec.graphs.items()
        }

    def __getitem__(self, name: str) -> Graph:
        return self._graphs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._graphs


def _session(path: Path, digest: str, settings: Settings, arena: bool) -> ort.InferenceSession:
    if settings.provider == "cpu":
        folder = settings.cache.expanduser() / OPTIMISED
        own = options(settings)
        own.enable_cpu_mem_arena = arena
        return optimised_session(path, digest, folder, own)
    return ort.InferenceSession(path, options(settings), providers=[PROVIDERS[settings.provider]])


def options(settings: Settings) -> ort.SessionOptions:
    """How ONNX Runtime runs every graph."""
    found = exact_options()
    found.intra_op_num_threads = settings.threads
    found.log_severity_level = QUIET
    # Shapes differ from batch to batch, so that plans for one shape are only memory held.
    found.enable_mem_pattern = False
    # A base has several graphs that run in turn: threads that spin would only take their cores.
    found.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return found
