import threading
import weakref
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmod.store import Module
from service.bank import Bank, Stack
from service.slots import Budget
from tests.service.modules import BANKS, WIDTH, manifest, module

PLENTY = 2**20


def bank_of(modules, nbytes=PLENTY):
    return Bank(BANKS, Budget(modules, nbytes))


def use(bank, *modules):
    """Runs a batch of one row for each module; what lies in slots afterwards."""
    for each in modules:
        with bank.pin([Stack(each)]):
            pass
    return [key.partition("@")[0] for key in bank.roles["language"].resident]


def values(pinned, row, name):
    """What the graph gathers from a bank for a row."""
    spec = next(spec for spec in BANKS if spec.name == name)
    column = 0 if spec.role == "language" else 1
    table = np.moveaxis(pinned.tables[name].tensor, spec.slot_axis, 0)
    return table[pinned.slots[row, column]]


def test_the_bare_base_is_slot_0_and_all_zeros():
    bank = bank_of(2)
    with bank.pin([Stack(), Stack(language=module("mn"))]) as pinned:
        assert pinned.slots.tolist() == [[0, 0], [1, 0]]
        assert not values(pinned, 0, "language.down").any()
        assert values(pinned, 1, "language.down").all()


def test_ranks_grow_with_the_modules_and_pad_with_zeros():
    bank = bank_of(2)
    with bank.pin([Stack(module("small", rank=1, value=5))]) as before:
        assert before.tables["language.down"].tensor.shape == (2, 3, WIDTH, 1)
        with bank.pin(
            [Stack(module("small", rank=1, value=5)), Stack(module("big", rank=4))]
        ) as both:
            assert both.tables["language.up"].tensor.shape == (2, 3, 4, WIDTH)
            assert values(both, 0, "language.down")[:, :, 0].tolist() == [[5] * WIDTH] * 2
            assert not values(both, 0, "language.down")[:, :, 1:].any()
        assert before.tables["language.down"].tensor.shape == (2, 3, WIDTH, 1)


def test_a_new_version_takes_another_slot_while_a_batch_holds_the_old_one():
    bank = bank_of(2)
    with bank.pin([Stack(module("mn", value=1, digest="a" * 12))]) as old:
        with bank.pin([Stack(module("mn", value=2, digest="b" * 12))]) as new:
            assert values(new, 0, "language.down").max() == 2
        assert values(old, 0, "language.down").max() == 1


def test_least_recently_used_goes_first_and_leaves_nothing_behind():
    bank = bank_of(2)
    biased = Module(manifest("biased"), "0" * 12, {"bias": np.ones(WIDTH, np.float32)})
    for each in (module("a"), biased, module("a"), module("c")):
        with bank.pin([Stack(each)]) as pinned:
            pass
    assert list(bank.roles["language"].resident) == ["a@000000000000", "c@000000000000"]
    assert not values(pinned, 0, "language.bias").any()
    assert bank.roles["language"].events == {"load": 3, "hit": 1, "eviction": 1}
    assert bank.module_bytes == 2 * module("a").nbytes


def test_a_slot_that_is_held_is_not_given_away():
    bank = bank_of(2)
    with bank.pin([Stack(module("a", value=1))]) as held:
        with bank.pin([Stack(module("b"))]):
            pass
        with bank.pin([Stack(module("c", value=3))]) as other:
            assert values(other, 0, "language.down").max() == 3
        assert values(held, 0, "language.down").max() == 1
    assert [key.partition("@")[0] for key in bank.roles["language"].resident] == ["a", "c"]


def test_split_cuts_where_a_role_has_no_slot_left():
    bank = bank_of(2)
    stacks = [Stack(module(name)) for name in "aabbcad"] + [Stack()]
    assert bank.split(stacks) == [slice(0, 4), slice(4, 6), slice(6, 8)]
    assert bank.split(stacks[:1]) == [slice(0, 1)]


def test_a_batch_waits_until_slots_are_let_go():
    bank = bank_of(1)
    entered = threading.Event()

    def other():
        with bank.pin([Stack(module("b"))]):
            entered.set()

    with bank.pin([Stack(module("a"))]) as pinned:
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.05)
        assert values(pinned, 0, "language.down").all()
    assert entered.wait(5)
    thread.join()


def test_a_module_that_cannot_be_written_leaves_its_slot_clean():
    bank = bank_of(2)
    wrong = Module(
        manifest("wrong"),
        "0" * 12,
        {**module("x").tensors, "bias": np.ones((WIDTH + 1), np.float32)},
    )
    batch = [Stack(module("a")), Stack(wrong)]
    with pytest.raises(ValueError, match="broadcast"), bank.pin(batch):
        pass
    assert not bank.roles["language"].pins
    biased = Module(manifest("biased"), "0" * 12, {"bias": np.ones(WIDTH, np.float32)})
    use(bank, module("c"))
    with bank.pin([Stack(biased)]) as pinned:
        assert not values(pinned, 0, "language.down").any()
        assert values(pinned, 0, "language.bias").all()


def wide(name):
    return module(name, rank=32)


def budget_of(modules, rank):
    """Bytes of language banks for so many modules of a rank."""
    return (1 + modules) * 4 * (2 * 2 * WIDTH * rank + WIDTH)


def test_banks_grow_to_their_budget_and_no_further():
    bank = bank_of(64, budget_of(5, rank=2))
    seen = [use(bank, module(name)) for name in "abcdefg"]
    assert seen[4] == list("abcde")
    assert seen[6] == list("cdefg")
    assert bank.roles["language"].nbytes == budget_of(5, rank=2)
    assert bank.roles["language"].events == {"load": 7, "eviction": 2}


def test_a_wide_module_takes_the_place_of_several_and_gives_it_back():
    bank = bank_of(64, budget_of(3, rank=32))
    narrow = [module(f"n{at}") for at in range(30)]
    assert len(use(bank, *narrow)) == 30
    assert use(bank, wide("w")) == ["n28", "n29", "w"]
    assert bank.roles["language"].nbytes == budget_of(3, rank=32)
    assert use(bank, *narrow[:3])[-3:] == ["n0", "n1", "n2"]
    assert len(use(bank, *narrow)) == 30
    assert bank.roles["language"].nbytes <= budget_of(3, rank=32)


def test_a_row_beyond_the_budget_is_served_by_itself():
    bank = bank_of(8, budget_of(2, rank=2))
    stacks = [Stack(module("a")), Stack(wide("w")), Stack(wide("w")), Stack(module("b"))]
    assert bank.split(stacks) == [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4)]
    with bank.pin(stacks[1:2]) as pinned:
        assert values(pinned, 0, "language.down").sum() == 2 * WIDTH * 32
    assert use(bank, module("b")) == ["b"]
    assert bank.roles["language"].nbytes <= budget_of(2, rank=2)


def test_split_cuts_where_the_budget_ends():
    bank = bank_of(8, budget_of(2, rank=2))
    stacks = [Stack(module(name)) for name in "aabac"] + [Stack()] * 2
    assert bank.split(stacks) == [slice(0, 4), slice(4, 7)]
    bare = bank_of(8, 1)
    assert bare.split([Stack()] * 3) == [slice(0, 3)]


def test_a_wide_module_that_is_not_used_any_more_leaves_with_its_width():
    bank, narrow = bank_of(8), [module("a"), module("b")]
    use(bank, *narrow, wide("w"))
    with patch("service.slots.REVIEW", 6):
        with bank.pin([Stack(narrow[0])]) as before:
            assert use(bank, *narrow, *narrow) == ["w", "a", "b"]
            assert use(bank, *narrow, *narrow, *narrow) == ["a", "b"]
            assert values(before, 0, "language.up").shape == (2, 32, WIDTH)
            assert values(before, 0, "language.up").sum() == 2 * 2 * WIDTH
        assert bank.roles["language"].nbytes == budget_of(8, rank=2)
        with bank.pin([Stack(module("b"))]) as after:
            assert values(after, 0, "language.up").shape == (2, 2, WIDTH)
            assert values(after, 0, "language.up").all()


def test_a_wide_module_that_a_batch_holds_stays():
    bank = bank_of(8)
    with patch("service.slots.REVIEW", 2), bank.pin([Stack(wide("w"))]) as held:
        assert use(bank, *[module("a")] * 9) == ["w", "a"]
        assert values(held, 0, "language.up").all()


def test_a_slot_is_wiped_after_its_module_was_moved():
    bank = bank_of(2)
    biased = Module(manifest("biased"), "0" * 12, {"bias": np.ones(WIDTH, np.float32)})
    use(bank, biased, wide("w"))
    with bank.pin([Stack(module("c"))]) as pinned:
        assert not values(pinned, 0, "language.bias").any()


def test_a_batch_that_fails_in_one_role_lets_go_of_the_other():
    bank = bank_of(2)
    wrong = Module(
        manifest("wrong", "task"), "0" * 12, {"out": np.ones((WIDTH + 1, 2), np.float32)}
    )
    with pytest.raises(ValueError, match="broadcast"), bank.pin([Stack(module("a"), wrong)]):
        pass
    assert not any(slots.pins for slots in bank.roles.values())


def test_a_wide_module_in_use_is_not_laid_out_again_and_again():
    bank = bank_of(8)
    use(bank, wide("w"), module("a"))
    with (
        patch("service.slots.REVIEW", 4),
        patch.object(bank.roles["language"].tables, "lay_out", side_effect=AssertionError),
    ):
        use(bank, *[wide("w"), module("a"), module("b"), module("a")] * 8)


def test_what_is_resident_stays_when_its_batch_brings_more():
    bank = bank_of(2)
    use(bank, module("a"), module("b"))
    with bank.pin([Stack(module("c")), Stack(module("a"))]):
        assert bank.roles["language"].events == {"load": 3, "hit": 1, "eviction": 1}


def random_module(role, number):
    """Of one of four widths; every second language module has a bias."""
    draw = np.random.default_rng(number)
    rank = (1, 2, 3, 12)[number % 4]
    if role == "task":
        made = {"out": draw.normal(size=(WIDTH, rank))}
    else:
        made = {
            "down": draw.normal(size=(2, WIDTH, rank)),
            "up": draw.normal(size=(2, rank, WIDTH)),
        }
        made |= {"bias": draw.normal(size=WIDTH)} if number % 2 else {}
    made = {name: tensor.astype(np.float32) for name, tensor in made.items()}
    return Module(manifest(f"m{number}", role), f"{number:012}", made)


MODULES = {
    role: [random_module(role, number) for number in range(12)] for role in ("language", "task")
}


def check(stacks, pinned):
    """Every row gathers its own modules' numbers from every bank, and zeros around them."""
    for row, stack in enumerate(stacks):
        for spec in BANKS:
            found = values(pinned, row, spec.name)
            own = stack.module(spec.role)
            tensor = own.tensors.get(spec.tensor) if own else None
            expected = np.zeros_like(found)
            if tensor is not None:
                expected[tuple(map(slice, tensor.shape))] = tensor
            np.testing.assert_array_equal(found, expected)


def stacks_of(rows):
    modules = ({role: MODULES[role][at] for role, at in row.items() if at < 12} for row in rows)
    return [Stack(**each) for each in modules]


class Batches:
    """Batches that run side by side, and every tensor of the banks they were given."""

    def __init__(self, bank):
        self.bank = bank
        self.running = []
        self.tensors = {}

    def begin(self, stacks):
        part = stacks[self.bank.split(stacks)[0]]
        wanted = {role: {m.key: m for s in part if (m := s.module(role))} for role in MODULES}
        if all(self.bank.roles[role].has_room(wanted[role]) for role in MODULES):
            pin = self.bank.pin(part)
            self.running.append((part, pin.__enter__(), pin))

    def end(self, place):
        if place < len(self.running):
            self.running.pop(place)[-1].__exit__(None, None, None)

    def check(self):
        for stacks, pinned, _ in self.running:
            check(stacks, pinned)
        for slots in self.bank.roles.values():
            assert len(slots.resident) <= slots.budget.modules
            assert slots.nbytes <= slots.budget.nbytes or len(slots.resident) <= 1
            tensors = [table.tensor for table in slots.tables.current.values()]
            assert slots.nbytes == sum(tensor.nbytes for tensor in tensors)
            self.tensors |= {id(tensor): weakref.ref(tensor) for tensor in tensors}
        self.tensors = {at: ref for at, ref in self.tensors.items() if ref() is not None}
        assert len(self.tensors) <= len(BANKS) * (1 + len(self.running))


numbers = st.integers(0, 15)
batches = st.lists(
    st.fixed_dictionaries({"language": numbers, "task": numbers}), min_size=1, max_size=5
)
ends = st.integers(0, 3)


@settings(max_examples=200, deadline=None)
@given(st.lists(batches | ends, max_size=40), st.integers(1, 6), st.integers(60, 3000))
def test_every_order_of_beginnings_and_ends_keeps_running_batches_and_the_budget(
    steps, modules, nbytes
):
    """A step is a batch that begins, or the place of one that ends."""
    batches = Batches(bank_of(modules, nbytes))
    with patch("service.slots.REVIEW", 5):
        for step in steps:
            batches.end(step) if isinstance(step, int) else batches.begin(stacks_of(step))
            batches.check()
        while batches.running:
            batches.end(0)
    batches.check()
    assert not any(slots.pins for slots in batches.bank.roles.values())
