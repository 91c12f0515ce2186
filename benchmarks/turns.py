"""Calls in turns: each has the others for neighbours, and who begins changes."""

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import median
from typing import TypeVar

Name = TypeVar("Name")
Found = TypeVar("Found")
Clock = Callable[[], float]
"""Seconds."""
TURN = 0.1
"""Seconds that a turn lasts at least."""
TRIALS = 2
"""Turns of each way of which the fastest is looked for."""


def in_turns(
    calls: Mapping[Name, Callable[[], Found]], repetitions: int, clock: Clock = time.perf_counter
) -> tuple[dict[Name, Found], dict[Name, list[float]]]:
    """What each call gave at first, when it met its shapes, and then milliseconds of its turns."""
    first = {name: call() for name, call in calls.items()}
    times: dict[Name, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in [*names[turn:], *names[:turn]]:
            times[name].append(round(taken(calls[name], clock) * 1e3, 4))
    return first, times


def fastest(ways: Mapping[str, Callable[[], object]], clock: Clock = time.perf_counter) -> str:
    """The best of a system's settings: which of its ways takes the least time."""
    if len(ways) == 1:
        return next(iter(ways))
    _, times = in_turns(ways, TRIALS, clock)
    return min(ways, key=lambda name: min(times[name]))


def taken(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds of a call: the median of one turn.

    A short call is repeated until the turn is over, and the first of several does not count: it
    meets its neighbour's numbers in the processor's caches, and threads that still spin for it.
    """
    times = [clock()]
    while len(times) == 1 or times[-1] - times[0] < TURN:
        call()
        times.append(clock())
    seconds = [end - start for start, end in pairwise(times)]
    return median(seconds[1:] or seconds)
