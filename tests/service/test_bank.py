import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmod.store import Module
from service.bank import Bank, Stack
from tests.service.modules import BANKS, WIDTH, manifest, module


def values(pinned, row, name):
    """What the graph gathers from a bank for a row."""
    spec = next(spec for spec in BANKS if spec.name == name)
    column = 0 if spec.role == "language" else 1
    table = np.moveaxis(pinned.tables[name].tensor, spec.slot_axis, 0)
    return table[pinned.slots[row, column]]


def test_the_bare_base_is_slot_0_and_all_zeros():
    bank = Bank(BANKS, limit=2)
    with bank.pin([Stack(), Stack(language=module("mn"))]) as pinned:
        assert pinned.slots.tolist() == [[0, 0], [1, 0]]
        assert not values(pinned, 0, "language.down").any()
        assert values(pinned, 1, "language.down").all()


def test_ranks_grow_with_the_modules_and_pad_with_zeros():
    bank = Bank(BANKS, limit=2)
    with bank.pin([Stack(module("small", rank=1, value=5))]) as before:
        assert before.tables["language.down"].tensor.shape == (2, 2, WIDTH, 1)
        with bank.pin(
            [Stack(module("small", rank=1, value=5)), Stack(module("big", rank=4))]
        ) as both:
            assert both.tables["language.up"].tensor.shape == (2, 3, 4, WIDTH)
            assert values(both, 0, "language.down")[:, :, 0].tolist() == [[5] * WIDTH] * 2
            assert not values(both, 0, "language.down")[:, :, 1:].any()
        assert before.tables["language.down"].tensor.shape == (2, 2, WIDTH, 1)


def test_a_new_version_takes_another_slot_while_a_batch_holds_the_old_one():
    bank = Bank(BANKS, limit=2)
    with bank.pin([Stack(module("mn", value=1, digest="a" * 12))]) as old:
        with bank.pin([Stack(module("mn", value=2, digest="b" * 12))]) as new:
            assert values(new, 0, "language.down").max() == 2
        assert values(old, 0, "language.down").max() == 1


def test_least_recently_used_goes_first_and_leaves_nothing_behind():
    bank = Bank(BANKS, limit=2)
    biased = Module(manifest("biased"), "0" * 12, {"bias": np.ones(WIDTH, np.float32)})
    for each in (module("a"), biased, module("a"), module("c")):
        with bank.pin([Stack(each)]) as pinned:
            pass
    assert list(bank.roles["language"].resident) == ["a@000000000000", "c@000000000000"]
    assert not values(pinned, 0, "language.bias").any()
    assert bank.roles["language"].events == {"load": 3, "hit": 1, "eviction": 1}
    assert bank.resident_bytes == 2 * module("a").nbytes


def test_a_slot_that_is_held_is_not_given_away():
    bank = Bank(BANKS, limit=2)
    with bank.pin([Stack(module("a", value=1))]) as held:
        with bank.pin([Stack(module("b"))]):
            pass
        with bank.pin([Stack(module("c", value=3))]) as other:
            assert values(other, 0, "language.down").max() == 3
        assert values(held, 0, "language.down").max() == 1
    assert [key.partition("@")[0] for key in bank.roles["language"].resident] == ["a", "c"]


def test_split_cuts_where_a_role_has_no_slot_left():
    bank = Bank(BANKS, limit=2)
    stacks = [Stack(module(name)) for name in "aabbcad"] + [Stack()]
    assert bank.split(stacks) == [slice(0, 4), slice(4, 6), slice(6, 8)]
    assert bank.split(stacks[:1]) == [slice(0, 1)]


def test_a_batch_waits_until_slots_are_let_go():
    bank = Bank(BANKS, limit=1)
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
    bank = Bank(BANKS, limit=1)
    wrong = Module(
        manifest("wrong"),
        "0" * 12,
        {**module("x").tensors, "bias": np.ones((WIDTH + 1), np.float32)},
    )
    with pytest.raises(ValueError, match="broadcast"), bank.pin([Stack(wrong)]):
        pass
    biased = Module(manifest("biased"), "0" * 12, {"bias": np.ones(WIDTH, np.float32)})
    with bank.pin([Stack(biased)]) as pinned:
        assert not values(pinned, 0, "language.down").any()
        assert values(pinned, 0, "language.bias").all()


names = st.sampled_from("abcdef")
batches = st.lists(
    st.lists(st.tuples(st.none() | names, st.none() | names), max_size=6), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(1, 3))
def test_every_row_of_every_batch_sees_exactly_its_own_modules(batches, limit):
    bank = Bank(BANKS, limit)
    for batch in batches:
        stacks = [
            Stack(
                a and module(a, rank=1 + ord(a) % 3, value=ord(a)),
                b and module(b, "task", rank=1 + ord(b) % 2, value=ord(b)),
            )
            for a, b in batch
        ]
        for part in bank.split(stacks):
            with bank.pin(stacks[part]) as pinned:
                for row, (a, b) in enumerate(batch[part]):
                    assert values(pinned, row, "language.up").sum() == (
                        ord(a) * 2 * WIDTH * (1 + ord(a) % 3) if a else 0
                    )
                    assert values(pinned, row, "task.out").sum() == (
                        ord(b) * WIDTH * (1 + ord(b) % 2) if b else 0
                    )
    assert all(not +slots.pins for slots in bank.roles.values())
    assert all(len(slots.resident) <= limit for slots in bank.roles.values())
