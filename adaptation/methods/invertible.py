"""Invertible adapters: what any bottleneck may have around all layers of an encoder base.

MAD-X (Pfeiffer et al. 2020, arXiv 2005.00052), AdapterHub's ``*_inv``: the NICE coupling block
(Dinh et al. 2015, arXiv 1410.8516) changes the vectors that enter the first layer, and its inverse
those that meet the vocabulary. With the halves a and b of a vector, ``a' = a + F(b)`` and
``b' = b + G(a')``; F and G are perceptrons, so zeros leave a and b as they are.

Where language and task module both have one, the language's comes first and its inverse last;
`adapters` itself uses that of a stack's first module alone, and the inverse in its own classes of
models alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from adaptation import adapterhub
from adaptation.architectures import Architecture
from adaptation.branching import Change
from adaptation.hooks import Hooks
from adaptation.methods.method import Method, MethodConfig
from adaptation.methods.perceptron import Activation, number_of, perceptron
from langmod.errors import ConfigError
from langmod.specs import Axis, BankSpec, Role

PARTS = {
    f"{function}_{part}": f"{function.upper()}.{tail}"
    for function in ("f", "g")
    for part, tail in {
        "down_weight": "0.weight", "down_bias": "0.bias",
        "up_weight": "2.weight", "up_bias": "2.bias",
    }.items()
}  # fmt: skip
"""Tensor → its place in `adapters`' block."""


def coupled(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
    value: Tensor,
    f_down: Tensor,
    f_down_bias: Tensor,
    f_up: Tensor,
    f_up_bias: Tensor,
    g_down: Tensor,
    g_down_bias: Tensor,
    g_up: Tensor,
    g_up_bias: Tensor,
    activation: Tensor,
    places: Tensor,
) -> Tensor:
    """``[B, T, D]`` through the rows' blocks; relu by default."""
    half = f_up_bias.shape[-1]
    a, b = value[..., :half], value[..., half:]
    a = a + perceptron(b, f_down, f_down_bias, f_up, f_up_bias, activation, places, 1)
    b = b + perceptron(a, g_down, g_down_bias, g_up, g_up_bias, activation, places, 1)
    return torch.cat([a, b], -1)


def uncoupled(  # noqa: PLR0913, PLR0917  (TorchScript takes tensors one by one)
    value: Tensor,
    f_down: Tensor,
    f_down_bias: Tensor,
    f_up: Tensor,
    f_up_bias: Tensor,
    g_down: Tensor,
    g_down_bias: Tensor,
    g_up: Tensor,
    g_up_bias: Tensor,
    activation: Tensor,
    places: Tensor,
) -> Tensor:
    """The inverse of ``coupled``."""
    half = f_up_bias.shape[-1]
    a, b = value[..., :half], value[..., half:]
    b = b - perceptron(a, g_down, g_down_bias, g_up, g_up_bias, activation, places, 1)
    a = a - perceptron(b, f_down, f_down_bias, f_up, f_up_bias, activation, places, 1)
    return torch.cat([a, b], -1)


class InvertibleConfig(MethodConfig):
    """The fields of AdapterHub's ``BnConfig`` that ask for an invertible adapter."""

    inv_adapter: Literal["nice"] | None = None
    """The kind of block, None for a module without one."""
    inv_adapter_reduction_factor: float = 2.0
    """The ranks of F and G are the widths of what they read divided by this."""


def banks(method: Method, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
    """F and G: down ``[S, D / 2, R]``, up ``[S, R, D / 2]`` and biases; their activation."""
    if architecture.embeddings is None:
        return ()
    ranks = [method.rank_axis(role, f"invertible.{function}") for function in ("f", "g")]
    shapes = {**_shapes(architecture.width, *ranks), "activation": (1,)}
    return tuple(
        BankSpec(name=f"{role}.{_prefix(method)}{part}", role=role, shape=(f"S.{role}", *shape))
        for part, shape in shapes.items()
    )


def attach(method: Method, hooks: Hooks, role: Role) -> None:
    """Changes what enters the first layer, and back again what meets the vocabulary."""
    if hooks.architecture.embeddings is None:
        return
    prefix = f"{role}.{_prefix(method)}"
    names, defaults = tuple(prefix + part for part in PARTS), (f"{prefix}activation",)
    hooks.on_embeddings(Change(coupled, names, defaults))
    hooks.on_vocabulary(Change(uncoupled, names, defaults))


def fresh(
    method: Method,
    config: InvertibleConfig,
    activation: Activation,
    architecture: Architecture,
    generator: Generator,
) -> dict[str, Tensor]:
    """BERT's initialisation downwards, zeros elsewhere; no tensors unless the settings ask.

    Raises:
        ConfigError: the base has no place for it.
    """
    if config.inv_adapter is None:
        return {}
    found = faults(config.model_dump(), architecture)
    if found:
        raise ConfigError("; ".join(found))
    tensors = {"activation": torch.full((1,), number_of(activation))}
    for part, shape in _shapes(architecture.width, *_ranks(config, architecture)).items():
        tensors[part] = torch.zeros([int(size) for size in shape])
        if part.endswith("down_weight"):
            tensors[part].normal_(std=0.02, generator=generator)
    return {f"{_prefix(method)}{part}": tensor for part, tensor in tensors.items()}


def faults(settings: Mapping[str, Any], base: Architecture) -> list[str]:
    """Why a base cannot hold the block that AdapterHub's settings ask for."""
    kind, factor = settings["inv_adapter"], settings["inv_adapter_reduction_factor"]
    if kind is None:
        return []
    if kind != "nice":
        return [f"inv_adapter is {kind!r}; allowed: 'nice', or none"]
    if base.embeddings is None:
        return [f"inv_adapter is {kind!r}; a {base.kind} has no vocabulary above its encoder"]
    if not isinstance(factor, int | float) or not 0 < factor <= base.width // 2:
        limit = base.width // 2
        return [f"inv_adapter_reduction_factor is {factor!r}; allowed: above 0, at most {limit}"]
    return []


def write(
    method: Method, tensors: Mapping[str, Tensor], base: Architecture, name: str
) -> dict[str, Tensor]:
    """The block's part of a checkpoint of `adapters`."""
    return {
        key: adapterhub.turned(tensors[tensor], tensor) for tensor, key in _keys(method, base, name)
    }


def wanted(
    method: Method, base: Architecture, name: str, into: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, Tensor]]:
    """Key, bank's name and place of every tensor that such a checkpoint has."""
    for tensor, key in _keys(method, base, name):
        yield key, tensor, into[tensor]


def _keys(method: Method, base: Architecture, name: str) -> Iterator[tuple[str, str]]:
    """Tensor and key of a checkpoint, for every tensor of the block but its activation."""
    holder = f"{base.model.base_model_prefix}.invertible_adapters.{name}"
    for part, tail in PARTS.items():
        yield f"{_prefix(method)}{part}", f"{holder}.{tail}"


def _prefix(method: Method) -> str:
    return f"{method.name}.invertible."


def _ranks(config: InvertibleConfig, architecture: Architecture) -> tuple[int, int]:
    first = architecture.width // 2
    widths = (architecture.width - first, first)
    f, g = (int(width // config.inv_adapter_reduction_factor) for width in widths)
    return f, g


def _shapes(width: int, f: Axis, g: Axis) -> dict[str, tuple[Axis, ...]]:
    """Without slots, at the ranks f and g."""
    first = width // 2
    second = width - first
    return {
        "f_down_weight": (second, f), "f_down_bias": (f,),
        "f_up_weight": (f, first), "f_up_bias": (first,),
        "g_down_weight": (first, g), "g_down_bias": (g,),
        "g_up_weight": (g, second), "g_up_bias": (second,),
    }  # fmt: skip
