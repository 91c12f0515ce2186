"""Calls in turns: each has the others for neighbours, and who begins changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import TypeVar

Name = TypeVar("Name")
Answer = TypeVar("Answer")
TURN = 0.1
"""Seconds that a turn lasts at least."""
TRIALS = 2
"""Turns of each way of which the fastest is looked for."""


def turns(names: Iterable[Name], repetitions: int) -> Iterator[tuple[int, Name]]:
    """Every repetition with every name; the name that begins changes."""
    order = list(names)
    for repetition in range(repetitions):
        first = repetition % len(order)
        for name in [*order[first:], *order[:first]]:
            yield repetition, name


def in_turns(
    calls: Mapping[Name, Callable[[int], Answer]], repetitions: int
) -> tuple[dict[Name, list[Answer]], dict[Name, list[float]]]:
    """Answers and milliseconds of calls, which are given the number of the repetition.

    The first answers, of number 0, are not timed: then each call meets its shapes.
    """
    answers = {name: [call(0)] for name, call in calls.items()}
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for repetition, name in turns(calls, repetitions):
        answer, seconds = taken(calls[name], repetition + 1)
        answers[name].append(answer)
        times[name].append(round(seconds * 1e3, 4))
    return answers, times


def fastest(ways: Mapping[str, Callable[[int], object]]) -> str:
    """The best of a system's settings: which of its ways takes the least time."""
    if len(ways) == 1:
        return next(iter(ways))
    _, times = in_turns(ways, TRIALS)
    return min(ways, key=lambda name: min(times[name]))


def taken(call: Callable[[int], Answer], number: int) -> tuple[Answer, float]:
    """The last answer of one turn, and the median of the seconds that an answer took.

    A short call is repeated until the turn is over, and the first of several does not count: it
    meets its neighbour's numbers in the processor's caches, and threads that still spin for it.
    """
    times = [perf_counter()]
    while len(times) == 1 or times[-1] - times[0] < TURN:
        answer = call(number)
        times.append(perf_counter())
    seconds = [end - start for start, end in pairwise(times)]
    return answer, median(seconds[1:] or seconds)
