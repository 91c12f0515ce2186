"""The check that every export must pass: ONNX Runtime against torch on unseen shapes."""

from math import isnan
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from export.graphs import Feed, Sizes, SlottedGraph
from langmod.errors import LangmodError
from langmod.sessions import opened
from langmod.specs import FP32_TOLERANCE, Parity, Precision

Floats = NDArray[np.float32]
INT8_TOLERANCE = 0.01
"""Largest distance from torch that 8 bits may show: 1 less the cosine of a row's numbers.

Random modules of every method on top of one another move rows further than any real one does; real
text is held to half of this (``export.real_text``).

The largest difference of single numbers says little: in a base with a few large channels it grows
with them, while vectors and labels stay as they were.
"""
SHAPES = (
    Sizes(rows=1, tokens=5, slots=2, rank=1, beams=1, seed=11),
    Sizes(rows=4, tokens=12, slots=5, rank=3, beams=3, seed=12),
    Sizes(rows=2, tokens=9, slots=1, rank=0, beams=1, seed=13),
    Sizes(rows=24, tokens=6, slots=12, rank=3, beams=2, seed=14),
)
"""Unlike the traced one: a single row, more of everything, no module loaded at all, and modules of
all methods."""


class ParityError(LangmodError):
    """An exported graph does not answer as torch does; its files were removed."""

    code = "parity"


def check_graph(graph: SlottedGraph, path: Path, precision: Precision) -> Parity:
    """Runs both on several shapes.

    Raises:
        ParityError: a difference above the precision's tolerance.
    """
    session = opened(path)
    exact = precision == "fp32"
    apart = largest_difference if exact else distance
    differences = [(0.0, "nothing")]
    for sizes in SHAPES:
        feed = graph.feed(sizes)
        with torch.no_grad():
            expected = graph(feed)
        found = run(session, feed)
        for name, reference in _comparable(expected).items():
            differences.append((apart(reference, found[name]), f"{name} at {sizes}"))
    worst, where = max(differences, key=lambda each: (isnan(each[0]), each[0]))
    tolerance = FP32_TOLERANCE if exact else INT8_TOLERANCE
    if not worst <= tolerance:
        raise ParityError(
            f"{graph.name} differs from torch by {worst:.2e} in {where}; allowed {tolerance:.0e}",
            graph=graph.name,
            difference=worst,
        )
    return Parity(graph=graph.name, max_difference=worst, tolerance=tolerance)


def largest_difference(reference: Floats, found: Floats) -> float:
    """Between two numbers in the same place."""
    return float(np.abs(reference - found).max(initial=0.0))


def distance(reference: Floats, found: Floats) -> float:
    """1 less the smallest cosine of rows ``[B, ...]``."""
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (reference, found))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1)[lengths > 0] / lengths[lengths > 0]
    return float(1 - cosines.min(initial=1.0))


def run(session: ort.InferenceSession, feed: Feed) -> dict[str, NDArray[np.float32]]:
    """One run of a session on torch tensors; outputs by name."""
    wanted = {each.name for each in session.get_inputs()}
    inputs = {name: tensor.numpy() for name, tensor in feed.items() if name in wanted}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _comparable(outputs: Feed) -> dict[str, NDArray[np.float32]]:
    """Outputs that are numbers to compare: token ids of a top-k may swap on ties."""
    return {name: value.numpy() for name, value in outputs.items() if value.is_floating_point()}
