"""How ONNX Runtime opens graphs: products of 8 bits are exact on every processor."""

from functools import cache
from pathlib import Path

import onnxruntime as ort

VNNI = {"avx512_vnni", "avx_vnni", "avxvnni"}
"""Instructions that add four products of unsigned and signed bytes without loss, as Linux names
them."""
UNSIGNED = ("session.x64quantprecision", "1")
"""Makes signed weights unsigned on x86, 2 to 2.5 times as slow as VNNI, where they lie in the graph
of their node."""


def exact_options() -> ort.SessionOptions:
    """Fresh options. Without them sums of pairs saturate on processors without VNNI."""
    options = ort.SessionOptions()
    if not has_vnni():
        options.add_session_config_entry(*UNSIGNED)
    return options


def opened(path: Path) -> ort.InferenceSession:
    """A graph on the CPU."""
    return ort.InferenceSession(str(path), exact_options(), providers=["CPUExecutionProvider"])


@cache
def has_vnni() -> bool:
    """Whether this processor says so; other processors than x86 need neither."""
    return not VNNI.isdisjoint(processor().split())


@cache
def processor() -> str:
    """What this processor can, as Linux names it; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("flags")), "")
