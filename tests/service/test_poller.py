import threading

import pytest

from service.poller import Poller


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Far:
    """Something far away that can fail or hang."""

    def __init__(self):
        self.value, self.looks = "old", 0
        self.fault = None
        self.free = threading.Event()
        self.free.set()
        self.seen = threading.Event()

    def __call__(self):
        self.looks += 1
        self.seen.set()
        assert self.free.wait(10)
        if self.fault:
            raise self.fault
        return self.value


@pytest.fixture
def far():
    return Far()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notes():
    return []


@pytest.fixture
def watch(far, clock, notes):
    return Poller(far, "nothing", notes.append, clock)


def test_it_looks_again_when_the_last_look_is_old(watch, far, clock):
    watch.refresh(5)
    assert (watch.value, watch.serial, far.looks) == ("old", 1, 1)
    far.value = "new"
    clock.now = 4.9
    watch.refresh(5)
    assert (watch.value, far.looks) == ("old", 1)
    clock.now = 5
    watch.refresh(5)
    assert (watch.value, watch.serial, far.looks) == ("new", 2, 2)
    watch.refresh(0)
    assert (watch.serial, far.looks) == (2, 3)


def test_a_failing_look_leaves_the_value_and_is_told(watch, far, clock, notes):
    watch.refresh(0)
    far.fault = OSError("gone")
    watch.refresh(0)
    assert (watch.value, watch.serial) == ("old", 1)
    assert notes == [None, far.fault]
    far.fault = None
    watch.refresh(0)
    assert notes[2:] == [None]


def test_a_look_that_hangs_keeps_nobody_waiting(watch, far, clock):
    watch.refresh(0)
    far.free.clear()
    far.value = "new"
    far.seen.clear()
    watch.refresh(0, patience=0)
    assert far.seen.wait(10)
    clock.now = 100
    watch.refresh(0)
    assert (watch.value, far.looks) == ("old", 2)
    far.free.set()
    watch.refresh(1000, patience=None)
    assert (watch.value, far.looks) == ("new", 2)


def test_many_that_ask_at_once_share_a_look(watch, far):
    far.free.clear()
    askers = [
        threading.Thread(target=watch.refresh, args=(5,), kwargs={"patience": None})
        for _ in range(8)
    ]
    for asker in askers:
        asker.start()
    assert far.seen.wait(10)
    far.free.set()
    for asker in askers:
        asker.join(10)
    assert (watch.value, far.looks) == ("old", 1)
