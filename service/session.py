"""The graphs of one base in ONNX Runtime: numpy in, numpy out, banks kept on the device."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from langmod.digests import file_digest
from langmod.errors import ConfigError, Unavailable
from langmod.specs import GraphFile, GraphSpec
from service.settings import Provider, Settings
from service.tables import Table

PROVIDERS: dict[Provider, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
Array = npt.NDArray[Any]
QUIET = 3
"""ONNX Runtime's log level for errors only."""


class Graph:
    """One ONNX file, ready to run."""

    def __init__(self, path: Path, spec: GraphFile, settings: Settings) -> None:
        """Opens the file.

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
        self._session = ort.InferenceSession(
            path, _options(settings), providers=[PROVIDERS[settings.provider]]
        )
        self._session.disable_fallback()
        active = self._session.get_providers()[0]
        if active != PROVIDERS[settings.provider]:
            raise Unavailable(
                f"provider {settings.provider} was asked for but {active} is active: check the "
                "driver and CUDA libraries, or set LANGMOD_PROVIDER=cpu"
            )
        self._uploaded: dict[str, tuple[Table, ort.OrtValue]] = {}

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
        wanted = {name: value for name, value in feeds.items() if name in self.inputs}
        banks = {name: tables[name] for name in self.spec.banks} if tables else {}
        if self._device == "cpu":
            arrays = {name: table.tensor for name, table in banks.items()}
            values = self._session.run(self._outputs, wanted | arrays)
            return dict(zip(self._outputs, values, strict=True))
        return self._run_on_device(wanted, banks, keep)

    def _run_on_device(
        self,
        feeds: Mapping[str, Array | ort.OrtValue],
        banks: Mapping[str, Table],
        keep: Sequence[str],
    ) -> dict[str, Any]:
        binding = self._session.io_binding()
        on_device = {name: self._upload(name, table) for name, table in banks.items()}
        for name, value in {**feeds, **on_device}.items():
            if isinstance(value, ort.OrtValue):
                binding.bind_ortvalue_input(name, value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self._outputs:
            binding.bind_output(name, self._device if name in keep else "cpu")
        self._session.run_with_iobinding(binding)
        values = zip(self._outputs, binding.get_outputs(), strict=True)
        return {name: value if name in keep else value.numpy() for name, value in values}

    def _upload(self, name: str, table: Table) -> ort.OrtValue:
        known, value = self._uploaded.get(name, (None, None))
        # A table's tensor is changed in place, but a changed one is another table.
        if known is not table or value is None:
            value = ort.OrtValue.ortvalue_from_numpy(table.tensor, self._device, 0)
            self._uploaded[name] = (table, value)
        return value


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
        self._graphs = {
            name: Graph(graphs / file.file, file, settings)
            for name, file in self.spec.graphs.items()
        }

    def __getitem__(self, name: str) -> Graph:
        return self._graphs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._graphs


def _options(settings: Settings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = QUIET
    # Shapes differ from batch to batch, so that plans for one shape are only memory held.
    options.enable_mem_pattern = False
    # A base has several graphs that run in turn: threads that spin would only take their cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
