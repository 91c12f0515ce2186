"""Module tensors stacked over slots: the graph inputs that give every row its own modules.

A batch pins the slots of its stacks, runs, and lets go. A pinned slot is never written; a bank that
must grow is replaced by a larger copy, so that a running batch keeps the one it was given.
"""

import heapq
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from langmod.specs import ROLES, BankSpec, Role
from langmod.store import Module


@dataclass(frozen=True)
class Stack:
    """The modules one row runs through; None is the bare base."""

    language: Module | None = None
    task: Module | None = None

    def module(self, role: Role) -> Module | None:
        """Its module of a role."""
        return self.language if role == "language" else self.task

    @property
    def keys(self) -> list[str]:
        """``name@digest`` of its modules, as every answer lists them."""
        return [module.key for module in (self.language, self.task) if module is not None]


@dataclass(frozen=True, eq=False)
class Table:
    """One bank's tensor as it was at one time; each change of its contents makes another table."""

    tensor: np.ndarray


@dataclass(frozen=True)
class Pinned:
    """What a batch feeds its graphs while it holds its slots."""

    slots: np.ndarray
    """``[B, 2]`` int64: language slot, task slot."""
    tables: Mapping[str, Table]


@dataclass
class RoleSlots:
    """Which module lies in which slot of a role; slot 0 stays empty."""

    limit: int
    resident: "OrderedDict[str, int]" = field(default_factory=OrderedDict)
    """Module key → slot, least recently used first."""
    written: dict[int, set[str]] = field(default_factory=dict)
    """Slot → names of the tensors that may be other than zero there."""
    nbytes: dict[str, int] = field(default_factory=dict)
    """Module key → bytes of its tensors."""
    pins: "Counter[str]" = field(default_factory=Counter)
    free: list[int] = field(default_factory=list)
    events: "Counter[str]" = field(default_factory=Counter)
    """``hit``, ``load``, ``eviction``."""

    def __post_init__(self) -> None:
        self.free = list(range(1, self.limit + 1))

    def has_room(self, keys: set[str]) -> bool:
        """Whether all of these can be held at once, beside what is pinned."""
        pinned = {key for key, count in self.pins.items() if count}
        return len(pinned | keys) <= self.limit

    def evict(self) -> int:
        """Frees the slot of the least recently used module that nobody holds."""
        key = next(key for key in self.resident if not self.pins[key])
        del self.pins[key], self.nbytes[key]
        return self.resident.pop(key)


class Bank:
    """The banks of one base's graphs."""

    def __init__(
        self,
        specs: Sequence[BankSpec],
        limit: int,
        note: Callable[[Role, str], None] = lambda role, event: None,
    ) -> None:
        """``limit`` modules of each role at once; ``note`` hears of each hit, load and eviction."""
        self._note = note
        self.specs = tuple(specs)
        self.roles = {role: RoleSlots(limit) for role in ROLES}
        self._axes = {
            axis: 1 if axis.startswith("S.") else 0
            for spec in self.specs
            for axis in spec.shape
            if isinstance(axis, str)
        }
        self._tables = {spec.name: Table(np.zeros(self._shape(spec), np.float32)) for spec in specs}
        self._changed = threading.Condition()

    @contextmanager
    def pin(self, stacks: Sequence[Stack]) -> Iterator[Pinned]:
        """Holds a slot for every module of a batch, loading what is not there.

        Waits while other batches hold too many slots. A batch must fit by itself: see ``split``.
        """
        wanted = {role: _modules(stacks, role) for role in ROLES}
        held: list[tuple[Role, str]] = []
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(wanted))
            try:
                for role in ROLES:
                    for module in wanted[role].values():
                        self._hold(role, module)
                        held.append((role, module.key))
                pinned = Pinned(self._slots(stacks), dict(self._tables))
            except BaseException:
                self._release(held)
                raise
        try:
            yield pinned
        finally:
            with self._changed:
                self._release(held)

    def split(self, stacks: Sequence[Stack]) -> list[slice]:
        """Cuts a batch before each row whose modules find no slot left beside the rows before."""
        starts, seen = [0], {role: set[str]() for role in ROLES}
        for index, stack in enumerate(stacks):
            seen = {role: seen[role] | _modules([stack], role).keys() for role in ROLES}
            if any(len(seen[role]) > self.roles[role].limit for role in ROLES):
                starts.append(index)
                seen = {role: set(_modules([stack], role)) for role in ROLES}
        return [slice(*ends) for ends in zip(starts, [*starts[1:], len(stacks)], strict=True)]

    @property
    def resident_bytes(self) -> int:
        """Bytes of the modules that lie in slots."""
        return sum(sum(slots.nbytes.values()) for slots in self.roles.values())

    def _has_room(self, wanted: Mapping[Role, Mapping[str, Module]]) -> bool:
        return all(self.roles[role].has_room(set(wanted[role])) for role in ROLES)

    def _hold(self, role: Role, module: Module) -> None:
        slots = self.roles[role]
        if module.key in slots.resident:
            slots.resident.move_to_end(module.key)
            self._count(role, "hit")
        else:
            slot = heapq.heappop(slots.free) if slots.free else self._evict(role)
            try:
                self._put(role, slot, module)
            except BaseException:
                heapq.heappush(slots.free, slot)
                raise
            slots.resident[module.key] = slot
            slots.nbytes[module.key] = module.nbytes
            self._count(role, "load")
        slots.pins[module.key] += 1

    def _evict(self, role: Role) -> int:
        self._count(role, "eviction")
        return self.roles[role].evict()

    def _count(self, role: Role, event: str) -> None:
        self.roles[role].events[event] += 1
        self._note(role, event)

    def _release(self, held: list[tuple[Role, str]]) -> None:
        for role, key in held:
            self.roles[role].pins[key] -= 1
        self._changed.notify_all()

    def _slots(self, stacks: Sequence[Stack]) -> np.ndarray:
        slots = np.zeros((len(stacks), len(ROLES)), np.int64)  # [B, 2]
        for row, stack in enumerate(stacks):
            for column, role in enumerate(ROLES):
                if (module := stack.module(role)) is not None:
                    slots[row, column] = self.roles[role].resident[module.key]
        return slots

    def _put(self, role: Role, slot: int, module: Module) -> None:
        self._grow(role, slot, module)
        written = self.roles[role].written
        touched = written.get(slot, set()) | module.tensors.keys()
        # Noted before the writes: what fails half-way is still wiped by the next module there.
        written[slot] = touched
        for spec in self.specs:
            if spec.role == role and spec.tensor in touched:
                self._write(spec, slot, module.tensors.get(spec.tensor))
        written[slot] = set(module.tensors)

    def _write(self, spec: BankSpec, slot: int, tensor: np.ndarray | None) -> None:
        table = self._tables[spec.name]
        place = np.moveaxis(table.tensor, spec.slot_axis, 0)[slot]
        place[...] = 0
        if tensor is not None:
            place[tuple(slice(size) for size in tensor.shape)] = tensor
        self._tables[spec.name] = Table(table.tensor)

    def _grow(self, role: Role, slot: int, module: Module) -> None:
        needed = dict(self._axes)
        axis = f"S.{role}"
        if axis in needed and slot >= needed[axis]:
            needed[axis] = min(max(2 * needed[axis], slot + 1), self.roles[role].limit + 1)
        for spec in self.specs:
            if spec.role == role and spec.tensor in module.tensors:
                sizes = zip(spec.row_shape, module.tensors[spec.tensor].shape, strict=True)
                for name, size in sizes:
                    if isinstance(name, str):
                        needed[name] = max(needed[name], size)
        if needed != self._axes:
            self._axes = needed
            self._tables = {spec.name: self._enlarged(spec) for spec in self.specs}

    def _enlarged(self, spec: BankSpec) -> Table:
        table, shape = self._tables[spec.name], self._shape(spec)
        if table.tensor.shape == shape:
            return table
        tensor = np.zeros(shape, np.float32)
        tensor[tuple(slice(size) for size in table.tensor.shape)] = table.tensor
        return Table(tensor)

    def _shape(self, spec: BankSpec) -> tuple[int, ...]:
        return tuple(self._axes[axis] if isinstance(axis, str) else axis for axis in spec.shape)


def _modules(stacks: Sequence[Stack], role: Role) -> dict[str, Module]:
    modules = (stack.module(role) for stack in stacks)
    return {module.key: module for module in modules if module is not None}
