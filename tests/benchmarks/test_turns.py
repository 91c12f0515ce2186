"""Turns: who begins, what is timed and what is not."""

import pytest

from benchmarks.turns import fastest, in_turns, taken


class Machine:
    """A clock that calls move on."""

    def __init__(self):
        self.now = 0.0
        self.called = []

    def call(self, name, *seconds):
        """A call that takes so long, the last number again and again."""
        left = list(seconds)

        def run(number):
            self.called.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return f"{name}{number}"

        return run


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr("benchmarks.turns.perf_counter", lambda: machine.now)
    return machine


def test_who_begins_changes_and_the_first_is_not_timed(machine):
    calls = {name: machine.call(name, 9, seconds) for name, seconds in (("a", 1), ("b", 2))}
    answers, times = in_turns(calls, 3)
    assert machine.called == [*"ab", *"ab", *"ba", *"ab"]
    assert answers == {name: [f"{name}{number}" for number in range(4)] for name in "ab"}
    assert times == {"a": [1000.0] * 3, "b": [2000.0] * 3}


def test_a_short_call_is_repeated_and_its_first_left_out(machine):
    call = machine.call("a", 1 / 16, 1 / 32, 1 / 64)
    assert taken(call, 7) == ("a7", 3 / 128)
    assert machine.called == ["a"] * 3


def test_a_long_call_is_called_once(machine):
    assert taken(machine.call("a", 0.5), 1) == ("a1", 0.5)
    assert machine.called == ["a"]


def test_the_fastest_way_is_kept(machine):
    cost = {"slow": 3.0, "fast": 1.0, "middle": 2.0}
    ways = {name: machine.call(name, seconds) for name, seconds in cost.items()}
    assert fastest(ways) == "fast"
    assert machine.called == [*cost, *cost, "fast", "middle", "slow"]
    assert fastest({"only": machine.call("only", 1)}) == "only"
    assert "only" not in machine.called
