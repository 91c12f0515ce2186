"""Graphs as ONNX Runtime optimises them for this processor, kept from one start to the next.

To optimise a graph of ten thousand nodes takes most of a start, and half as much memory again as to
run it.
"""

import hashlib
import logging
import os
from pathlib import Path

import onnxruntime as ort

from langmod.digests import SHORT, file_digest
from langmod.sessions import processor

logger = logging.getLogger("langmod.graphs")
CPU = ["CPUExecutionProvider"]


def optimised_session(
    path: Path, digest: str, folder: Path, options: ort.SessionOptions
) -> ort.InferenceSession:
    """A graph on the CPU, from what an earlier start kept in a folder, or kept there now.

    Args:
        path: the ONNX file.
        digest: its sha256.
        folder: where optimised graphs lie; what lies there may be deleted.
        options: how it runs; changed to take the graph as it was optimised.
    """
    try:
        kept = _kept(folder, _key(digest)) or _keep(path, folder, _key(digest), options)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return ort.InferenceSession(kept, options, providers=CPU)
    # Whatever the cache cannot give, the file itself does; ONNX Runtime raises bare Exceptions.
    except Exception as error:
        logger.warning("%s is not kept as optimised: %s", path, error)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        return ort.InferenceSession(path, options, providers=CPU)


def _key(digest: str) -> str:
    parts = (digest, ort.__version__, processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:SHORT]


def _kept(folder: Path, key: str) -> Path | None:
    """The optimised graph; a damaged one is removed."""
    for path in folder.glob(f"{key}-*.ort"):
        if file_digest(path).startswith(path.stem.partition("-")[2]):
            return path
        path.unlink(missing_ok=True)
    return None


def _keep(path: Path, folder: Path, key: str, options: ort.SessionOptions) -> Path:
    """Optimises a graph; its name says what it is of and what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{key}.{os.getpid()}.tmp"
    options.optimized_model_filepath = str(draft)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        ort.InferenceSession(path, options, providers=CPU)
        kept = folder / f"{key}-{file_digest(draft)[:SHORT]}.ort"
        return draft.replace(kept)
    finally:
        draft.unlink(missing_ok=True)
        options.optimized_model_filepath = ""
