"""A system's best settings: whatever it can be told is tried, and the fastest way is kept."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Found = TypeVar("Found")
TRIALS = 2
"""Of each way, after one that warms up."""


def fastest(
    ways: Mapping[str, Callable[[], Found]], clock: Callable[[], float] = time.perf_counter
) -> str:
    """Which of a system's ways takes the least time; all run in turns."""
    if len(ways) == 1:
        return next(iter(ways))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for trial in range(TRIALS + 1):
        for name, way in ways.items():
            begun = clock()
            way()
            if trial:
                times[name].append(clock() - begun)
    return min(ways, key=lambda name: min(times[name]))
