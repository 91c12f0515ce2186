"""A base whose rows may each run through other modules: the heart of training, export and parity.

The model stays Hugging Face's own. Methods hang hooks on its layers; a hook asks the current
``SlotSource`` for its tensors and changes what flows by. The source is fixed tensors while a module
trains, and a bank gathered by ``slots`` in an exported graph, so both run the same arithmetic.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]

from adaptation.architectures import Architecture, Sublayer, Tower
from adaptation.banks import banks_of, columns_of
from adaptation.branching import Composing, Group, Loaded, SlotSource, changed
from adaptation.hooks import EMBEDDINGS, VOCABULARY, Decode, Hooks, Point
from adaptation.methods import METHODS
from adaptation.rows import Rows, Surroundings
from langmod.specs import ROLES


class SlottedBase(nn.Module):
    """A base with every registered method's changes in place, silent until a source is given."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = architecture.model
        # Beside Hugging Face's model, so that what is done to the base is done to it too.
        self.mix = getattr(architecture, "mix", None)
        self.config = architecture.model.config
        self._source: SlotSource | None = None
        self.composed_by: Callable[[SlotSource], Composing] | None = None
        """What runs changes while a graph is traced; None: one after the other, as in torch."""
        self._composer: Composing | None = None
        self._residuals: dict[tuple[str, str, int], Tensor] = {}
        hooks = Hooks(architecture)
        # Language before task at every place: MAD-X stacks them in this order.
        for role in ROLES:
            for method in METHODS.values():
                method.attach(hooks, role)
        self._changes = hooks.changes
        self._surroundings = Surroundings(architecture, hooks.around)
        self._columns = columns_of(banks_of(architecture))
        for tower in architecture.towers():
            for index, layer in enumerate(tower.layers):
                self._hook_layer(tower, index, layer)
        self._hook_ends()
        for decode in hooks.decodes:
            self._hook_logits(decode)

    @contextmanager
    def using(self, source: SlotSource | None) -> Iterator[None]:
        """Runs the block with a source's modules; None is the bare base."""
        before = self._source
        self._use(source)
        try:
            yield
        finally:
            self._use(before)
            self._residuals.clear()

    def enter(self, rows: Rows) -> Rows:
        """What the base reads in place of rows, through the modules in use.

        The forward of an encoder or translator does this by itself; who calls a part of it, as
        ``generate`` does, gives it rows that entered.
        """
        return self._surroundings.enter(rows)

    def leave(self, hidden: Tensor) -> Tensor:
        """The tokens' hidden states ``[B, T, D]`` from those of the rows that entered last."""
        return self._surroundings.leave(hidden)

    def _use(self, source: SlotSource | None) -> None:
        self._source = source
        self._composer = None
        self._surroundings.use(source)

    def _hook_layer(self, tower: Tower, index: int, layer: nn.Module) -> None:
        closing = {each.output: name for name, each in tower.sublayers.items()}
        for name, sublayer in tower.sublayers.items():
            if self._changes["sublayer", tower.name, name]:
                self._keep_residual(tower.name, name, sublayer, index)
        for path in tower.linears:
            place = Place(tower.name, path, index, closing.get(path))
            linear: Any = layer.get_submodule(path)
            linear.forward = partial(self._linear, linear, linear.forward, place)
        for path in tower.norms:
            if self._changes["outputs", tower.name, path]:
                norm: Any = layer.get_submodule(path)
                place = Place(tower.name, path, index, None)
                norm.forward = partial(self._norm, norm, norm.forward, place)

    def _keep_residual(self, tower: str, name: str, sublayer: Sublayer, index: int) -> None:
        path, argument = sublayer.residual

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._residuals[tower, name, index] = inputs[argument]

        layer = self.architecture.layer(tower, index)
        layer.get_submodule(path).register_forward_pre_hook(keep)

    def _hook_ends(self) -> None:
        embeddings = self.architecture.embeddings
        if embeddings is not None and self._changes[EMBEDDINGS]:
            embeddings.register_forward_hook(
                lambda _, __, output: self._value(EMBEDDINGS, output, None)
            )
        if self._changes[VOCABULARY]:
            self.architecture.vocabulary.register_forward_pre_hook(self._before_vocabulary)

    def _hook_logits(self, decode: Decode) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
            return logits if self._source is None else decode(inputs[0], logits, self._source)

        self.architecture.vocabulary.register_forward_hook(hook)

    def _before_vocabulary(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        value = inputs[0]
        if value.dim() == 2:
            # Training brings labelled positions alone; all run one module, as tokens of one row.
            value = self._value(VOCABULARY, value.unsqueeze(0), None).squeeze(0)  # [N, D]
        else:
            value = self._value(VOCABULARY, value, None)
        return (value, *inputs[1:])

    def _linear(
        self, linear: nn.Linear, forward: Callable[[Tensor], Tensor], place: "Place", value: Tensor
    ) -> Tensor:
        """A linear with changes of its input, its output and the sublayer that it closes."""
        if self._source is None:
            return forward(value)
        value = self._value(("inputs", place.tower, place.path), value, place.layer)
        own = self._loaded(("outputs", place.tower, place.path), place.layer)
        closing, context = self._closing(place)
        composer = self._composes()
        if composer is not None:
            groups = [Group([each for each in closing if each.role == r], context) for r in ROLES]
            return composer.linear(linear, value, own, groups)
        return changed(changed(forward(value), (value,), own), context, closing)

    def _closing(self, place: "Place") -> tuple[list[Loaded], tuple[object, ...]]:
        """Changes of the sublayer that a linear closes, and their context."""
        if place.sublayer is None:
            return [], ()
        closing = self._loaded(("sublayer", place.tower, place.sublayer), place.layer)
        if not closing:
            return [], ()
        layer = self.architecture.layer(place.tower, place.layer)
        tower = next(each for each in self.architecture.towers() if each.name == place.tower)
        path = tower.sublayers[place.sublayer].norm
        found: Any = None if path is None else layer.get_submodule(path)
        norm = (None, None, 0.0) if found is None else (found.weight, found.bias, found.eps)
        residual = self._residuals[place.tower, place.sublayer, place.layer]
        return closing, (residual, *norm, self.architecture.width)

    def _norm(
        self,
        norm: nn.LayerNorm,
        forward: Callable[[Tensor], Tensor],
        place: "Place",
        value: Tensor,
    ) -> Tensor:
        if self._source is None:
            return forward(value)
        own = self._loaded(("outputs", place.tower, place.path), place.layer)
        composer = self._composes()
        if composer is not None:
            return composer.norm(norm, value, own)
        return changed(forward(value), (value,), own)

    def _value(self, point: Point, value: Tensor, layer: int | None) -> Tensor:
        """A value that no part of the base's own makes for this alone."""
        if self._source is None:
            return value
        found = self._loaded(point, layer)
        composer = self._composes()
        if composer is None:
            return changed(value, (), found)
        # In their order: at the end of the base those of the task come first.
        groups = [Group(list(each)) for _, each in groupby(found, key=lambda change: change.role)]
        return composer.value(value, groups)

    def _loaded(self, point: Point, layer: int | None) -> list[Loaded]:
        assert self._source is not None, "silent without a source"
        found = [
            change.loaded(self._source, layer, self._columns[change.banks[0]])
            for change in self._changes[point]
        ]
        return [each for each in found if each is not None]

    def _composes(self) -> Composing | None:
        """What runs changes in a graph; None in torch itself, which runs them one by one."""
        if self.composed_by is None or not is_tracing():
            return None
        if self._source is None or self._source.marks(ROLES[0]) is None:
            return None
        if self._composer is None:
            self._composer = self.composed_by(self._source)
        return self._composer


class Place(NamedTuple):
    """A linear or norm of a layer."""

    tower: str
    path: str
    layer: int
    sublayer: str | None
    """The one that a linear closes."""
