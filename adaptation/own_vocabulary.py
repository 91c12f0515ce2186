"""A module's own tokens around a frozen base: word vectors, two layers of its own, logits.

Lee et al. 2021 call the layers implicit translation layers. The first lies between the module's
word vectors and the base's embeddings, which add their positions and norm to what it gives; the
second follows the base's last layer. Weights are those of a layer of the base.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptation.architectures import EncoderArchitecture
from adaptation.branching import SlotSource
from adaptation.rows import Rows

WORDS, BIAS = "words", "bias"
ENTRY, EXIT = "entry.", "exit."
Tensors = Mapping[str, Tensor]


class OwnVocabulary:
    """What modules with a vocabulary do to their rows; ``Around`` of a ``SlottedBase``."""

    keeps_words = False

    def __init__(self, base: EncoderArchitecture, prefix: str) -> None:
        """``prefix``: how the names of a module's tensors begin, ``language.xpt.``."""
        self._base, self._prefix = base, prefix
        self._layer = LentLayer(base.blank_layer())
        paths = self._layer.paths
        self._names = (WORDS, BIAS, *(which + path for which in (ENTRY, EXIT) for path in paths))

    def concerns(self, source: SlotSource) -> bool:
        """Whether any such module is loaded."""
        return source.find(self._prefix + WORDS, None) is not None

    def enter(self, rows: Rows, source: SlotSource) -> Rows:
        """Rows of modules with the vectors that the first of their layers gives."""
        words = rows.words
        if rows.token_ids is None:
            return rows  # there is nothing to read
        for own, tensors in self._modules(source):
            ids, mask, types = rows.token_ids, rows.mask, rows.token_types
            if own is not None:
                ids, mask, types = ids[own], mask[own], None if types is None else types[own]
            words = _put(words, own, self.entered(ids, mask, types, tensors))
        return replace(rows, words=words)

    def leave(self, hidden: Tensor, rows: Rows, source: SlotSource) -> Tensor:
        """``[B, T, D]`` after the second of their layers."""
        for own, tensors in self._modules(source):
            part, mask = hidden, rows.mask
            if own is not None:
                part, mask = part[own], mask[own]
            hidden = _put(hidden, own, self.left(part, mask, tensors))
        return hidden

    def decode(self, vectors: Tensor, logits: Tensor, source: SlotSource) -> Tensor:
        """Logits over each row's own vocabulary; beyond a smaller one they are -inf.

        Vectors ``[N, D]`` of several rows can be told apart only where all run one module.
        """
        if not self.concerns(source):
            return logits
        for own, tensors in self._modules(source):
            table, bias = tensors[WORDS], tensors[BIAS]
            if own is None:
                return functional.linear(vectors, table, bias)
            size = _size(table)
            found = functional.linear(vectors[own], table[:size], bias[:size])
            width = max(size, logits.shape[-1])
            logits = _put(_widened(logits, width), own, _widened(found, width))
        return logits

    def entered(self, ids: Tensor, mask: Tensor, types: Tensor | None, own: Tensors) -> Tensor:
        """Words ``[B, T, D]`` that the base takes for one module's token ids ``[B, T]``.

        Order is told to the layer as the base tells it to its own: by its positions.
        """
        words = functional.embedding(ids, own[WORDS])  # [B, T, D]
        return self._run(ENTRY, own, self._base.placed(words, types), mask)

    def left(self, hidden: Tensor, mask: Tensor, own: Tensors) -> Tensor:
        """``[B, T, D]`` of one module's rows after the second of its layers."""
        return self._run(EXIT, own, hidden, mask)

    def _run(self, which: str, tensors: Tensors, vectors: Tensor, mask: Tensor) -> Tensor:
        weights = {
            name.removeprefix(which): tensor
            for name, tensor in tensors.items()
            if name.startswith(which)
        }
        padding = 1 - mask[:, None, None, :].to(vectors.dtype)  # [B, 1, 1, T]
        never = padding * torch.finfo(vectors.dtype).min
        return self._layer(weights, vectors, never)

    def _modules(self, source: SlotSource) -> Iterator[tuple[Tensor | None, Tensors]]:
        """Each module with its rows ``[B]``; None where all rows run it."""
        found = {}
        for name in self._names:
            each = source.find(self._prefix + name, None)
            if each is not None:
                found[name] = each
        bank, places = found[WORDS]
        if len(bank) == 1:
            yield None, {name: each.bank[0] for name, each in found.items()}
            return
        slots = places[:, 0]
        for slot in slots.unique().tolist():
            # A slot of zeros is the bare base, or a module of another method.
            if bank[slot].any():
                yield slots == slot, {name: each.bank[slot] for name, each in found.items()}


class LentLayer:
    """A layer that is handed its weights with each call, traceably (``functional_call`` is not)."""

    def __init__(self, layer: nn.Module) -> None:
        self.paths = tuple(path for path, _ in layer.named_parameters())
        self._layer = layer
        self._places = {}
        for path in self.paths:
            parent, _, name = path.rpartition(".")
            owner = layer.get_submodule(parent)
            self._places[path] = owner, name
            delattr(owner, name)

    def __call__(self, weights: Tensors, vectors: Tensor, never: Tensor) -> Tensor:
        """``[B, T, D]``; ``never [B, 1, 1, T]`` is added to what tokens look at."""
        for path, (owner, name) in self._places.items():
            setattr(owner, name, weights[path])
        found: Tensor = self._layer(vectors, never)[0]
        return found


def fresh_layer(
    base: EncoderArchitecture, which: str, like: tuple[Tensor, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """A layer drawn as BERT's that hands on nearly what it takes.

    ``like``: mean and deviation of the vectors that the base has at that place, which its last norm
    gives.
    """
    last = base.towers()[0].sublayers["output"].norm
    tensors = {}
    for path, parameter in base.blank_layer().named_parameters():
        drawn = torch.zeros(parameter.shape)
        if parameter.dim() > 1:
            drawn.normal_(std=base.model.config.initializer_range, generator=generator)
        elif path.endswith("LayerNorm.weight"):
            drawn += like[1] if path == f"{last}.weight" else 1
        elif path == f"{last}.bias":
            drawn += like[0]
        tensors[which + path] = drawn
    return tensors


def sizes_at_entry(base: EncoderArchitecture) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the numbers of the base's word vectors."""
    table = base.model.get_input_embeddings().weight.detach().float()
    return table.mean(), table.std()


def sizes_at_exit(base: EncoderArchitecture) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the numbers that the norm of the base's last layer gives."""
    tower = base.towers()[0]
    norm: Any = tower.layers[-1].get_submodule(str(tower.sublayers["output"].norm))
    weight, bias = norm.weight.detach().float(), norm.bias.detach().float()
    return bias.mean(), ((weight**2).mean() + bias.var()).sqrt()


def _put(value: Tensor, own: Tensor | None, part: Tensor) -> Tensor:
    """``value`` with other numbers for some rows."""
    if own is None:
        return part
    return value.index_put((own.nonzero()[:, 0],), part.to(value.dtype))


def _size(table: Tensor) -> int:
    """Tokens of a vocabulary whose bank is as wide as the widest's."""
    return int(table.any(1).nonzero().max()) + 1


def _widened(logits: Tensor, width: int) -> Tensor:
    more = width - logits.shape[-1]
    return functional.pad(logits, (0, more), value=float("-inf"))
