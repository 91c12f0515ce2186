"""A models folder with many modules that each answer in their own way, while it is needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.experiment import Copies
from benchmarks.systems import without_modules
from langmod.errors import ConfigError
from langmod.specs import Axis, GraphSpec
from langmod.store import ModuleStore


@contextmanager
def published(models: Path, spec: GraphSpec, copies: Copies, seed: int) -> Iterator[Path]:
    """The bases of a models folder with no modules but the copies, which are named by number.

    Raises:
        ConfigError: there is no such module to copy.
    """
    place = models / copies.base / "modules"
    original_store = ModuleStore(place)
    if copies.module not in original_store.names():
        raise ConfigError(f"{place} holds no module {copies.module!r} to copy")
    original = original_store.load(copies.module)
    banks = {bank.tensor: bank for bank in spec.banks if bank.role == original.manifest.role}
    with without_modules(models) as folder:
        store = ModuleStore(folder / copies.base / "modules")
        for number in range(copies.count):
            rank = copies.ranks[number % len(copies.ranks)] if copies.ranks else None
            draw = np.random.default_rng((seed, number))
            tensors = {
                name: _noisy(tensor, _shape(banks[name].row_shape, tensor, rank), copies, draw)
                for name, tensor in original.tensors.items()
            }
            manifest = original.manifest.model_copy(update={"name": copies.name(number)})
            store.publish(manifest, tensors)
        yield folder


def _shape(axes: Sequence[Axis], tensor: np.ndarray, rank: int | None) -> list[int]:
    return [
        rank if rank and str(axis).startswith("R.") else size
        for axis, size in zip(axes, tensor.shape, strict=True)
    ]


def _noisy(
    tensor: np.ndarray, shape: Sequence[int], copies: Copies, draw: np.random.Generator
) -> np.ndarray:
    values = copies.noise * tensor.std() * draw.standard_normal(shape, np.float32)
    shared = tuple(map(slice, map(min, tensor.shape, shape)))
    values[shared] += tensor[shared]
    return values.astype(tensor.dtype)
