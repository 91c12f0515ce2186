"""The slots of one role: which module lies in which, for how long, and who must leave.

A module is written into a free slot in place. When there is none, or the banks are too narrow for
it, they are laid out anew within their budget: as wide as the widest module, the least recently
used ones left out.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from langmod.specs import BankSpec, Role
from langmod.store import Module
from service.tables import Layout, Tables, Widths

REVIEW = 1024
"""Uses of modules between two looks for banks that are wider than they need be."""


@dataclass(frozen=True)
class Budget:
    """How large the banks of one role may become."""

    modules: int
    nbytes: int
    """Most bytes of a role's banks, all padding included."""


@dataclass
class Resident:
    """A module that lies in a slot."""

    slot: int
    widths: Widths
    nbytes: int
    """Without padding."""
    used: int = 0
    """When last, on the clock of the role's uses."""


class RoleSlots:
    """The modules of one role that lie in banks; ``Bank`` holds the lock."""

    def __init__(
        self, specs: Sequence[BankSpec], role: Role, budget: Budget, note: Callable[[str], None]
    ) -> None:
        """``note`` hears of each hit, load and eviction."""
        self.budget = budget
        self.tables = Tables(specs, role)
        self.resident: OrderedDict[str, Resident] = OrderedDict()
        """Modules in slots by key, least recently used first."""
        self.pins: Counter[str] = Counter()
        """Module key → batches that hold it, where there are any."""
        self.events: Counter[str] = Counter()
        """``hit``, ``load``, ``eviction``."""
        self.module_bytes = 0
        """Bytes of the resident modules, without padding."""
        self._free: list[int] = []
        self._uses = self._reviewed = 0
        self._note = note

    @property
    def nbytes(self) -> int:
        """Bytes of the banks, padding and free slots included."""
        return self.tables.nbytes(self.tables.layout)

    def widths(self, module: Module) -> Widths:
        """How wide the banks must be for a module."""
        known = self.resident.get(module.key)
        return known.widths if known else self.tables.widths(module)

    def allows(self, layout: Layout) -> bool:
        """Whether banks may be as large as this; without modules they always may."""
        few = layout.slots <= self.budget.modules + 1
        return few and (layout.slots == 1 or self.tables.nbytes(layout) <= self.budget.nbytes)

    def has_room(self, modules: Mapping[str, Module]) -> bool:
        """Whether these can be held beside what others hold; where nobody does, they can."""
        others = [self.resident[key].widths for key in self.pins if key not in modules]
        own = [self.widths(module) for module in modules.values()]
        return not others or self.allows(self._around([*others, *own]))

    def hold(self, modules: Mapping[str, Module]) -> None:
        """Pins each of these, putting those in a slot that are in none; all of them or none."""
        self._review()
        present = [key for key in modules if key in self.resident]
        new = [module for key, module in modules.items() if key not in self.resident]
        held: list[str] = []
        try:
            # First what is there, so that it is not put out for what is not.
            for key in present:
                self._pin(key, "hit", held)
            if new:
                self._make_room([self.widths(module) for module in new])
            for module in new:
                self._put(module)
                self._pin(module.key, "load", held)
        except BaseException:
            self.release(held)
            raise

    def release(self, keys: Iterable[str]) -> None:
        """Takes one pin from each."""
        for key in keys:
            self.pins[key] -= 1
            if not self.pins[key]:
                del self.pins[key]

    def _pin(self, key: str, event: str, held: list[str]) -> None:
        self._uses += 1
        self.resident[key].used = self._uses
        self.resident.move_to_end(key)
        self.pins[key] += 1
        held.append(key)
        self._count(event)

    def _put(self, module: Module) -> None:
        slot = heapq.heappop(self._free)
        try:
            self.tables.write(slot, module)
        except BaseException:
            heapq.heappush(self._free, slot)
            raise
        self.resident[module.key] = Resident(slot, self.widths(module), module.nbytes)
        self.module_bytes += module.nbytes

    def _make_room(self, new: Sequence[Widths]) -> None:
        """Sees to a free slot for each, in banks that are wide enough and not too large."""
        too_many = len(self.resident) + len(new) - self.budget.modules
        self._evict(self._idle()[: max(too_many, 0)])
        if not self._fits(new):
            layout, leaving = self._most_recent_beside(new)
            self._evict(leaving)
            if not self._fits(new):
                self._lay_out(layout)

    def _fits(self, new: Sequence[Widths]) -> bool:
        wide = all(map(self.tables.layout.is_as_wide_as, new))
        return wide and len(new) <= len(self._free) and self.nbytes <= self.budget.nbytes

    def _most_recent_beside(self, new: Sequence[Widths]) -> tuple[Layout, list[str]]:
        """The layout of what is new, pinned and, as far as allowed, recent; what must leave."""
        layout = self._around([*new, *(self.resident[key].widths for key in self.pins)])
        idle = self._idle()
        for left in range(len(idle), 0, -1):
            wider = layout.beside(self.resident[idle[left - 1]].widths)
            if not self.allows(wider):
                return layout, idle[:left]
            layout = wider
        return layout, []

    def _idle(self) -> list[str]:
        """What nobody holds, least recently used first."""
        return [key for key in self.resident if key not in self.pins]

    def _evict(self, keys: Iterable[str]) -> None:
        for key in keys:
            gone = self.resident.pop(key)
            self.module_bytes -= gone.nbytes
            heapq.heappush(self._free, gone.slot)
            self._count("eviction")

    def _count(self, event: str) -> None:
        self.events[event] += 1
        self._note(event)

    def _around(self, modules: Iterable[Widths]) -> Layout:
        """The smallest layout that holds these modules."""
        layout = self.tables.bare
        for widths in modules:
            layout = layout.beside(widths)
        return layout

    def _roomy(self, layout: Layout) -> Layout:
        """Gives a layout all slots that the budget allows: no further module copies the others.

        Memory is taken page by page as slots are first written.
        """
        a_slot = self.tables.nbytes(Layout(1, layout.widths))
        affordable = max(self.budget.nbytes // max(a_slot, 1), layout.slots)
        return Layout(min(affordable, self.budget.modules + 1), layout.widths)

    def _lay_out(self, least: Layout) -> None:
        """Lays the banks out anew, what is resident in their first slots."""
        layout = self._roomy(least)
        moves = {each.slot: slot for slot, each in enumerate(self.resident.values(), 1)}
        self.tables.lay_out(layout, moves)
        for each in self.resident.values():
            each.slot = moves[each.slot]
        self._free = list(range(1 + len(moves), layout.slots))

    def _review(self) -> None:
        """Lets wide modules go that were long not used, where that halves the banks.

        Every row pays for the width of its banks. A look comes once in many uses, so that a width
        that comes and goes is not copied for each time.
        """
        if self._uses - self._reviewed < REVIEW:
            return
        busy = self._around(
            each.widths
            for key, each in self.resident.items()
            if each.used > self._reviewed or key in self.pins
        )
        self._reviewed = self._uses
        wide = [key for key, each in self.resident.items() if not busy.is_as_wide_as(each.widths)]
        least = Layout(1 + len(self.resident) - len(wide), busy.widths)
        if 2 * self.tables.nbytes(self._roomy(least)) <= self.nbytes:
            self._evict(wide)
            self._lay_out(least)
