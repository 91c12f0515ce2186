"""Whole rows on their way into a base and out of it: what methods put around the base.

A change inside the layers leaves rows as long as they are (``branching``); soft prompts make them
longer, and a module with a vocabulary of its own reads other tokens. Both happen before the first
layer and after the last, outside the graphs of the layers.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from langmod.architectures import Architecture
from langmod.branching import SlotSource


@dataclass(frozen=True, eq=False)
class Rows:
    """B rows before their base reads them."""

    token_ids: Tensor | None
    """``[B, T]``; None where only vectors are known."""
    words: Tensor
    """Word vectors ``[B, T, D]``, before positions."""
    mask: Tensor
    """``[B, T]`` 1 at tokens, 0 at padding."""
    token_types: Tensor | None = None
    """``[B, T]``"""


class Around(Protocol):
    """What a method's modules of one role do to whole rows."""

    def concerns(self, source: SlotSource) -> bool:
        """Whether any such module is loaded."""
        ...

    def enter(self, rows: Rows, source: SlotSource) -> Rows:
        """The rows that the base reads instead; their positions are counted from the first."""
        ...

    def leave(self, hidden: Tensor, rows: Rows, source: SlotSource) -> Tensor:
        """Hidden states of the rows that entered, ``[B, T, D]``, from those the base gave."""
        ...


class Surroundings:
    """All that is put around one base, in order: the first to enter is the last to leave."""

    def __init__(self, architecture: Architecture) -> None:
        self.source: SlotSource | None = None
        self._architecture = architecture
        self._around: list[Around] = []
        self._entered: list[tuple[Around, Rows]] = []
        reader = architecture.reader
        self._signature = inspect.signature(reader.forward)
        reader.register_forward_pre_hook(self._enter, with_kwargs=True)
        if architecture.kind == "encoder":
            reader.register_forward_hook(self._leave)

    def add(self, around: Around) -> None:
        """Puts one more around the base, inside those that are there."""
        self._around.append(around)

    def _enter(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]] | None:
        source, self._entered = self.source, []
        if source is None:
            return None
        active = [each for each in self._around if each.concerns(source)]
        given = self._signature.bind(*args, **kwargs).arguments
        # A decoder's later steps bring what its encoder made of the rows.
        if not active or given.get("encoder_outputs") is not None:
            return None
        rows = self._rows(given)
        for each in active:
            self._entered.append((each, rows))
            rows = each.enter(rows, source)
        named = {**given.pop("kwargs", {}), **given}
        for name in ("input_ids", "position_ids", "token_type_ids"):
            named.pop(name, None)
        if rows.token_types is not None:
            named["token_type_ids"] = rows.token_types
        return (), {**named, "inputs_embeds": rows.words, "attention_mask": rows.mask}

    def _rows(self, given: Mapping[str, Any]) -> Rows:
        token_ids: Tensor | None = given.get("input_ids")
        words: Tensor = (
            given["inputs_embeds"] if token_ids is None else self._architecture.words(token_ids)
        )
        mask = given.get("attention_mask")
        if mask is None:
            mask = words.new_ones(words.shape[:2]).long()
        return Rows(token_ids, words, mask, given.get("token_type_ids"))

    def _leave(self, _: nn.Module, __: object, output: Any) -> Any:
        source, entered, self._entered = self.source, self._entered, []
        if source is None:
            return output
        for around, rows in reversed(entered):
            output["last_hidden_state"] = around.leave(output["last_hidden_state"], rows, source)
        return output
