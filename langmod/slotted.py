"""A base whose rows may each run through other modules: the heart of training, export and parity.

The model stays Hugging Face's own. Methods hang hooks on its layers; a hook asks the current
``SlotSource`` for its tensors and changes what flows by. The source is fixed tensors while a module
trains, and a bank gathered by ``slots`` in an exported graph, so both run the same arithmetic.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._C import Value
from torch.autograd import Function

from langmod.architectures import Architecture, Stack
from langmod.specs import ROLES, BankSpec, Role

BlockChange = Callable[[Tensor, int], Tensor]
"""Changes the sum a layer ends with, ``[B, T, D]``, given the layer's number."""


class SlotSource(Protocol):
    """Where hooks find a module's tensors for the rows that run now."""

    def rows(self, name: str, layer: int | None) -> Tensor | None:
        """A tensor per row ``[B | 1, ...]`` of one layer, or None when nothing is loaded.

        ``name`` is ``<role>.<tensor>``; ``layer`` None for tensors without a layer axis.
        """
        ...


class FixedSource:
    """One module per role for every row; what training uses. Gradients reach the tensors."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def rows(self, name: str, layer: int | None) -> Tensor | None:
        """``[1, ...]``, broadcast over the rows."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return None
        return (tensor if layer is None else tensor[layer]).unsqueeze(0)


class BankSource:
    """Tensors gathered from banks by each row's slots; what graphs use."""

    def __init__(self, banks: Mapping[str, Tensor], slots: Tensor) -> None:
        """``banks``: name → ``[L, S, ...]`` or ``[S, ...]``; ``slots [B, 2]``: language, task."""
        self.banks = banks
        self.columns = {role: slots[:, column] for column, role in enumerate(ROLES)}  # [B] each

    def rows(self, name: str, layer: int | None) -> Tensor | None:
        """``[B, ...]``: slot ``slots[b]`` of the bank for row b."""
        bank = self.banks.get(name)
        if bank is None:
            return None
        slots = self.columns[_role(name)]
        if layer is None:
            return bank.index_select(0, slots)
        places = torch.stack([torch.full_like(slots, layer), slots], 1)  # [B, 2]
        return _GatherPlaces.apply(bank, places)  # [B, ...]


class _Graph(Protocol):
    """The part of the exporter's graph that a symbolic uses."""

    def op(self, name: str, *inputs: Value) -> Value:
        """Adds one node."""
        ...


class _GatherPlaces(Function):
    """``bank[l, s]`` for pairs of layer and slot as ONNX's GatherND.

    Torch's own exports copy a layer's whole ``[S, ...]`` slab first, or reshape, which ONNX cannot
    do to a bank of rank 0.
    """

    @staticmethod
    def forward(ctx: Any, bank: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = bank.shape
        return bank[places[:, 0], places[:, 1]]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        found = gradient.new_zeros(ctx.shape)
        found.index_put_((places[:, 0], places[:, 1]), gradient, accumulate=True)
        return found, None

    @staticmethod
    def symbolic(graph: _Graph, bank: Value, places: Value) -> Value:
        return graph.op("GatherND", bank, places)


class RoleSources:
    """Another source for each role: a task module in training over banks of language modules."""

    def __init__(self, sources: Mapping[Role, SlotSource]) -> None:
        self.sources = sources

    def rows(self, name: str, layer: int | None) -> Tensor | None:
        """What the role's own source holds."""
        source = self.sources.get(_role(name))
        return None if source is None else source.rows(name, layer)


def stack_banks(
    banks: Iterable[BankSpec], modules: Sequence[tuple[Role, Mapping[str, Tensor]]]
) -> dict[str, Tensor]:
    """Banks of some modules in torch: slot 0 is zero, each role's modules follow in their order.

    A free axis is as wide as the widest module; banks that no module fills are left out.
    """
    found = {}
    for bank in banks:
        rows = [tensors.get(bank.tensor) for role, tensors in modules if role == bank.role]
        shapes = [row.shape for row in rows if row is not None]
        if shapes:
            widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
            padded = [_padded(row, widest) for row in [None, *rows]]
            found[bank.name] = torch.stack(padded, bank.slot_axis)
    return found


def _padded(row: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    values = torch.zeros(shape)
    if row is not None:
        values[tuple(slice(0, size) for size in row.shape)] = row
    return values


def _role(name: str) -> Role:
    return "language" if name.startswith("language.") else "task"


class SlottedBase(nn.Module):
    """A base with every registered method's hooks in place, silent until a source is given."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        from langmod.methods import METHODS

        self.architecture = architecture
        self.model = architecture.model
        self.config = architecture.model.config
        self._source: SlotSource | None = None
        self._blocks: dict[str, list[BlockChange]] = {}
        for stack in architecture.stacks():
            self._blocks[stack.name] = []
            self._hook_blocks(stack)
        # Language before task at every place: MAD-X stacks them in this order.
        for role in ROLES:
            for method in METHODS.values():
                method.attach(self, role)

    @contextmanager
    def using(self, source: SlotSource | None) -> Iterator[None]:
        """Runs the block with a source's modules; None is the bare base."""
        before, self._source = self._source, source
        try:
            yield
        finally:
            self._source = before

    def tensors(self, names: tuple[str, ...], layer: int | None) -> tuple[Tensor, ...] | None:
        """What the current source holds for these names, None when no such module is loaded."""
        if self._source is None:
            return None
        found = [self._source.rows(name, layer) for name in names]
        present = tuple(tensor for tensor in found if tensor is not None)
        return present if len(present) == len(names) else None

    def on_block(self, stack: str, change: BlockChange) -> None:
        """Registers a change of the residual sum at the end of every layer of a stack."""
        self._blocks[stack].append(change)

    def on_linear(
        self, stack: str, path: str, change: Callable[[Tensor, Tensor, int], Tensor]
    ) -> None:
        """Registers ``change(input, output, layer)`` on one linear of every layer of a stack."""

        def hook_of(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
            return lambda _, inputs, output: change(inputs[0], output, layer)

        for each, layer, place, module in self.architecture.linears():
            if each.name == stack and place == path:
                module.register_forward_hook(hook_of(layer))

    def end_block(self, stack: str, layer: int, total: Tensor) -> Tensor:
        """Applies the registered changes to a layer's closing sum ``[B, T, D]``."""
        for change in self._blocks[stack]:
            total = change(total, layer)
        return total

    def block_norm(self, stack: str, layer: int, total: Tensor) -> Tensor:
        """The norm that closes a layer applied to its sum; the sum itself when pre-norm.

        AdapterHub feeds a bottleneck the normed sum (``original_ln_before``), without firing hooks.
        """
        found = next(each for each in self.architecture.stacks() if each.name == stack)
        if found.block_norm is None:
            return total
        norm: Any = found.layers[layer].get_submodule(found.block_norm)
        return nn.functional.layer_norm(
            total, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )

    def _hook_blocks(self, stack: Stack) -> None:
        for index, layer in enumerate(stack.layers):
            if stack.block_norm is None:
                layer.register_forward_hook(self._after_layer(stack.name, index))
            else:
                norm = layer.get_submodule(stack.block_norm)
                norm.register_forward_pre_hook(self._before_norm(stack.name, index))

    def _after_layer(self, stack: str, index: int) -> Callable[[nn.Module, object, object], object]:
        def hook(_: nn.Module, __: object, output: object) -> object:
            if isinstance(output, tuple):
                return (self.end_block(stack, index, output[0]), *output[1:])
            return self.end_block(stack, index, output)  # type: ignore[arg-type]

        return hook

    def _before_norm(
        self, stack: str, index: int
    ) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        return lambda _, inputs: (self.end_block(stack, index, inputs[0]),)


def banks_of(architecture: Architecture) -> tuple[BankSpec, ...]:
    """Every bank that the registered methods and task heads need on a base."""
    from langmod.methods import METHODS
    from langmod.tasks import TASKS

    banks = [
        bank
        for role in ROLES
        for method in METHODS.values()
        for bank in method.banks(architecture, role)
    ]
    if architecture.kind == "encoder":
        banks += [bank for task in TASKS.values() for bank in task.head_banks(architecture.width)]
    return tuple(banks)
