"""What differs between two versions of a module: their manifests, and how far tensors moved."""

from collections.abc import Iterator, Mapping

import numpy as np

from langmod.specs import ModuleManifest
from langmod.store import Module

LEFT_OUT = {"sha256", "tensors", "metrics"}
"""Said better by the tensors themselves, and by metrics one at a time."""


def differences(before: Module, after: Module) -> list[str]:
    """One line for each field, metric and tensor that is not the same in both."""
    facts, others = dict(_facts(before.manifest)), dict(_facts(after.manifest))
    lines = [
        f"{key}: {facts.get(key, 'none')} -> {others.get(key, 'none')}"
        for key in [*facts, *(others.keys() - facts.keys())]
        if facts.get(key) != others.get(key)
    ]
    return lines + [
        f"{name}: {said}"
        for name in sorted(before.tensors.keys() | after.tensors.keys())
        if (said := _moved(before.tensors.get(name), after.tensors.get(name)))
    ]


def _facts(manifest: ModuleManifest) -> Iterator[tuple[str, object]]:
    fields = manifest.model_dump(mode="json", exclude=LEFT_OUT)
    yield from _flat("", fields)
    for metric in manifest.metrics:
        place = ", ".join(filter(None, (metric.split, metric.language, metric.signature)))
        yield f"{metric.name} ({place})", metric.value


def _flat(prefix: str, fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _moved(before: np.ndarray | None, after: np.ndarray | None) -> str:
    """Nothing where a tensor is the same; else its Frobenius distance, relative to before."""
    if before is None or after is None or before.shape != after.shape:
        return f"{_form(before)} -> {_form(after)}"
    if before.dtype == after.dtype and np.array_equal(before, after):
        return ""
    distance = after.astype(np.float64) - before
    length = float(np.linalg.norm(before.astype(np.float64)))
    moved = float(np.linalg.norm(distance))
    relative = f"{moved / length:.1%} of its length" if length else f"{moved:.3g} from zero"
    largest = float(np.abs(distance).max(initial=0))
    form = "" if before.dtype == after.dtype else f"{_form(before)} -> {_form(after)}, "
    return f"{form}moved by {relative}, one number by {largest:.3g}"


def _form(tensor: np.ndarray | None) -> str:
    return "none" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
