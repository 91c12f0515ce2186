"""Module tensors stacked over slots: the graph inputs that give every row its own modules.

A batch pins the slots of its stacks, runs, and lets go. A pinned slot is never written; banks that
must be larger or smaller are replaced by others, and a running batch keeps those it was given.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from langmod.specs import PROMPT, ROLES, BankSpec, Role
from langmod.store import Module
from service.slots import Budget, RoleSlots
from service.tables import Table

NO_PROMPT = np.zeros((0, 0), np.float32)


def prompt_of(module: Module) -> np.ndarray:
    """A module's soft prompt without vectors of zeros, ``[P, D]`` float32; empty if it has none."""
    vectors = module.tensors.get(PROMPT, NO_PROMPT)
    return vectors[vectors.any(axis=1)].astype(np.float32)


@dataclass(frozen=True)
class Stack:
    """The modules one row runs through; None is the bare base."""

    language: Module | None = None
    task: Module | None = None

    def module(self, role: Role) -> Module | None:
        """Returns its module of a role."""
        return self.language if role == "language" else self.task

    @cached_property
    def prompt(self) -> np.ndarray:
        """What goes in front of its rows' words, language before task: ``[P, D]`` float32."""
        prompts = [prompt_of(each) for each in (self.language, self.task) if each is not None]
        return np.concatenate([each for each in prompts if len(each)] or [NO_PROMPT])

    @property
    def keys(self) -> list[str]:
        """``name@digest`` of its modules, as every answer lists them."""
        return [module.key for module in (self.language, self.task) if module is not None]


@dataclass(frozen=True)
class Pinned:
    """What a batch feeds its graphs while it holds its slots."""

    slots: np.ndarray
    """``[B, 2]`` int64: language slot, task slot."""
    tables: Mapping[str, Table]

    def take(self, places: Sequence[int]) -> "Pinned":
        """Some of the rows."""
        return Pinned(self.slots[list(places)], self.tables)


class Bank:
    """The banks of one base's graphs."""

    def __init__(
        self,
        specs: Sequence[BankSpec],
        budget: Budget,
        note: Callable[[Role, str], None] = lambda role, event: None,
    ) -> None:
        """``budget`` is each role's own; ``note`` hears of each hit, load and eviction."""
        self.roles = {role: RoleSlots(specs, role, budget, partial(note, role)) for role in ROLES}
        self._changed = threading.Condition()

    @contextmanager
    def pin(self, stacks: Sequence[Stack]) -> Iterator[Pinned]:
        """Holds a slot for every module of a batch, loading what is not there.

        Waits while other batches hold too much. A batch must fit by itself: see ``split``.
        """
        wanted = {role: self._modules(stacks, role) for role in ROLES}
        held: list[Role] = []
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(wanted))
            try:
                for role in ROLES:
                    self.roles[role].hold(wanted[role])
                    held.append(role)
                pinned = Pinned(self._slots(stacks), self._tables())
            except BaseException:
                self._release(held, wanted)
                raise
        try:
            yield pinned
        finally:
            with self._changed:
                self._release(held, wanted)

    def split(self, stacks: Sequence[Stack]) -> list[slice]:
        """Cuts a batch before each row whose modules find no room beside those of the rows before.

        A row that finds none by itself is a part by itself.
        """
        starts, part = [0], PartialBatch(self.roles)
        for index, stack in enumerate(stacks):
            if not part.takes(stack) and index > starts[-1]:
                starts.append(index)
                part = PartialBatch(self.roles)
                part.takes(stack)
        return [slice(*ends) for ends in zip(starts, [*starts[1:], len(stacks)], strict=True)]

    @property
    def module_bytes(self) -> int:
        """Bytes of the modules that lie in slots."""
        return sum(slots.module_bytes for slots in self.roles.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the banks, padding and free slots included."""
        return sum(slots.nbytes for slots in self.roles.values())

    def _has_room(self, wanted: Mapping[Role, Mapping[str, Module]]) -> bool:
        return all(self.roles[role].has_room(wanted[role]) for role in ROLES)

    def _release(self, held: Iterable[Role], wanted: Mapping[Role, Mapping[str, Module]]) -> None:
        for role in held:
            self.roles[role].release(wanted[role])
        self._changed.notify_all()

    def _tables(self) -> dict[str, Table]:
        return {
            name: table
            for slots in self.roles.values()
            for name, table in slots.tables.current.items()
        }

    def _slots(self, stacks: Sequence[Stack]) -> np.ndarray:
        slots = np.zeros((len(stacks), len(ROLES)), np.int64)  # [B, 2]
        for row, stack in enumerate(stacks):
            for column, role in enumerate(ROLES):
                module = stack.module(role)
                if module is not None and self.roles[role].tables.take(module):
                    slots[row, column] = self.roles[role].resident[module.key].slot
        return slots

    def _modules(self, stacks: Sequence[Stack], role: Role) -> dict[str, Module]:
        """Those that need a slot; rows of others have slot 0."""
        modules = (stack.module(role) for stack in stacks)
        takes = self.roles[role].tables.take
        return {each.key: each for each in modules if each is not None and takes(each)}


class PartialBatch:
    """Rows whose modules find room in the banks together."""

    def __init__(self, roles: Mapping[Role, RoleSlots]) -> None:
        self._roles = roles
        self._seen: set[tuple[Role, str]] = set()
        self._layouts = {role: slots.tables.bare for role, slots in roles.items()}

    def takes(self, stack: Stack) -> bool:
        """Takes a row in; whether there is room for it."""
        for role, slots in self._roles.items():
            module = stack.module(role)
            if module is None or not slots.tables.take(module):
                continue
            if (role, module.key) not in self._seen:
                self._seen.add((role, module.key))
                self._layouts[role] = self._layouts[role].beside(slots.widths(module))
        return all(slots.allows(self._layouts[role]) for role, slots in self._roles.items())
