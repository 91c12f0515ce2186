"""Whole rows on their way into a base and out of it: what methods put around the base.

A change inside the layers leaves rows as long as they are (``branching``); soft prompts make them
longer, and a module with a vocabulary of its own reads other tokens. Both happen before the first
layer and after the last, outside the graphs of the layers.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adaptation.architectures import Architecture
from adaptation.branching import SlotSource
from langmod.specs import PROMPT


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


def prompt_length(tensors: Mapping[str, Tensor]) -> int:
    """Most positions that the soft prompts of a row may take, of tensors or banks by name."""
    return sum(each.shape[-2] for name, each in tensors.items() if name.endswith(PROMPT))


class Around(Protocol):
    """What a method's modules of one role do to whole rows."""

    keeps_words: bool
    """Whether rows still read the base's vocabulary, so that its own head answers them."""

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

    def __init__(self, architecture: Architecture, around: Sequence[Around]) -> None:
        self._source: SlotSource | None = None
        self._architecture = architecture
        self._around = around
        self._entered: list[tuple[Around, Rows, SlotSource]] = []
        reader = architecture.reader
        self._signature = inspect.signature(reader.forward)
        reader.register_forward_pre_hook(self._before, with_kwargs=True)
        if architecture.kind == "encoder":
            reader.register_forward_hook(self._after)

    def use(self, source: SlotSource | None) -> None:
        """Takes modules from a source from now on; None is the bare base."""
        self._source, self._entered = source, []

    def enter(self, rows: Rows) -> Rows:
        """The rows that the base reads instead."""
        self._entered = []
        for each, source in self._active():
            self._entered.append((each, rows, source))
            rows = each.enter(rows, source)
        return rows

    def leave(self, hidden: Tensor) -> Tensor:
        """Hidden states ``[B, T, D]`` of the rows that entered last."""
        entered, self._entered = self._entered, []
        for around, rows, source in reversed(entered):
            hidden = around.leave(hidden, rows, source)
        return hidden

    def _active(self) -> list[tuple[Around, SlotSource]]:
        source = self._source
        if source is None:
            return []
        return [(each, source) for each in self._around if each.concerns(source)]

    def _before(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]] | None:
        self._entered = []
        if not self._active():
            return None
        given = self._signature.bind(*args, **kwargs).arguments
        # A decoder's later steps bring what its encoder made of the rows.
        if given.get("encoder_outputs") is not None:
            return None
        rows = self.enter(self._rows(given))
        named = {**given.pop("kwargs", {}), **given}
        for name in ("input_ids", "position_ids", "token_type_ids"):
            named.pop(name, None)
        if rows.token_types is not None:
            named["token_type_ids"] = rows.token_types
        return (), {**named, "inputs_embeds": rows.words, "attention_mask": rows.mask}

    def _rows(self, given: Mapping[str, Any]) -> Rows:
        token_ids: Any = given.get("input_ids")
        words: Any = given.get("inputs_embeds")
        if token_ids is not None:
            # Ids beyond the base's are of other vocabularies, whose rows get their own vectors.
            known = token_ids < self._architecture.vocabulary_size
            words = self._architecture.words(token_ids.where(known, 0))
        mask = given.get("attention_mask")
        if mask is None:
            mask = torch.ones(words.shape[:2], dtype=torch.int64, device=words.device)
        return Rows(token_ids, words, mask, given.get("token_type_ids"))

    def _after(self, _: nn.Module, __: object, output: Any) -> Any:
        if self._entered:
            entered = list(self._entered)
            output["last_hidden_state"] = self.leave(output["last_hidden_state"])
            if all(around.keeps_words for around, _, _ in entered):
                self._leave_layers(entered, output["last_hidden_state"])
        return output

    def _leave_layers(self, entered: list[tuple[Around, Rows, SlotSource]], last: Tensor) -> None:
        """Takes prompts off the lower layers that the head for words reads beside the last."""
        mix = getattr(self._architecture, "mix", None)
        if mix is None:
            return
        lower = mix.held[:-1]
        mix.held = []
        for each in lower:
            self._entered = list(entered)
            mix.held.append(self.leave(each))
        mix.held.append(last)
