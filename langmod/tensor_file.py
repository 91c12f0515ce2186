"""The tensors of a version: written and read as safetensors, held against the manifest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from langmod.specs import ModuleManifest, TensorSpec
from langmod.storage import MANIFEST

DTYPES = ("float32", "float16")
Arrays = Mapping[str, npt.NDArray[Any]]


def written(tensors: Arrays) -> bytes:
    """A file of safetensors."""
    return bytes(save({name: np.asarray(each, order="C") for name, each in tensors.items()}))


def read(payload: bytes) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a file of safetensors.

    Raises:
        ValueError: it is no such file, or has numbers that numpy does not know.
    """
    try:
        return load(payload)
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from error


def described(tensors: Arrays) -> tuple[TensorSpec, ...]:
    """What a manifest says of tensors."""
    return tuple(
        TensorSpec.model_construct(name=name, dtype=str(tensor.dtype), shape=tensor.shape)
        for name, tensor in sorted(tensors.items())
    )


def faults_of(manifest: ModuleManifest, tensors: Arrays) -> list[str]:
    """What is wrong with tensors: not those of the manifest, or numbers that cannot be used."""
    declared = {spec.name: spec for spec in manifest.tensors}
    faults = [f"{name} is missing" for name in sorted(declared.keys() - tensors.keys())]
    faults += [f"{name} is not in {MANIFEST}" for name in sorted(tensors.keys() - declared.keys())]
    for name in sorted(declared.keys() & tensors.keys()):
        spec, tensor = declared[name], tensors[name]
        if str(tensor.dtype) not in DTYPES:
            faults.append(f"{name} is {tensor.dtype}, allowed {' or '.join(DTYPES)}")
        elif (str(tensor.dtype), tensor.shape) != (spec.dtype, spec.shape):
            faults.append(
                f"{name} is {tensor.dtype} {list(tensor.shape)}, "
                f"{MANIFEST} says {spec.dtype} {list(spec.shape)}"
            )
        elif not np.isfinite(tensor).all():
            faults.append(f"{name} holds numbers that are not finite")
    return faults
