"""The waiting rows of one base: a lane per language, so that no language waits for a flood.

Pure data, no threads: the scheduler puts rows in and takes batches out under its own lock.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

SMALLEST_STEP = 8


class Waiting(Protocol):
    """What the lanes must know of a waiting row."""

    @property
    def language(self) -> str:
        """Whose turn it takes."""
        ...

    @property
    def length(self) -> int:
        """How many tokens it has, special ones included."""
        ...

    @property
    def arrived(self) -> float:
        """When it came, on any clock."""
        ...

    @property
    def left(self) -> bool:
        """Nobody waits for its answer any more."""
        ...


def padded(length: int) -> int:
    """The length a row is padded to: steps of a quarter octave, so that shapes repeat."""
    octave = 1 << max(0, length - 1).bit_length()
    step = max(SMALLEST_STEP, octave // 8)
    return -(-length // step) * step


Row = TypeVar("Row", bound=Waiting)


class FairQueue(Generic[Row]):
    """Rows by language and padded length; batches take from the languages in turn."""

    def __init__(self, alike: bool = True) -> None:
        """``alike``: whether the rows of a batch are to be of like length."""
        self._alike = alike
        self._languages: dict[str, dict[int, deque[Row]]] = {}
        self._turns: deque[str] = deque()
        self.rows = 0
        """Rows waiting, those that left since the last purge included."""
        self.tokens = 0
        """Tokens of the rows that wait."""

    def put(self, row: Row) -> None:
        """Puts a row at the end of its language's lane."""
        if row.language not in self._languages:
            self._languages[row.language] = {}
            self._turns.append(row.language)
        self._languages[row.language].setdefault(padded(row.length), deque()).append(row)
        self.rows += 1
        self.tokens += row.length

    def take(self, tokens: int, rows: int) -> list[Row]:
        """The next batch: at most so many rows, and tokens after padding to its longest row.

        The language whose turn it is gives its oldest row; then the languages in turn give rows
        that go with it, where rows are to be alike those between half its length and its length. A
        row longer than the budget goes alone.
        """
        first = self._take_oldest()
        if first is None:
            return []
        batch, width, passed = [first], padded(first.length), 0
        while len(batch) < rows and passed < len(self._turns):
            lane = self._next_lane()
            row = self._pop(lane, self._fitting(lane, width, tokens // (len(batch) + 1)))
            if row is None:
                passed += 1
                continue
            batch.append(row)
            width, passed = max(width, padded(row.length)), 0
        self._drop_empty()
        return batch

    def purge(self) -> None:
        """Drops the rows that left."""
        for lane in self._languages.values():
            for length, queue in lane.items():
                lane[length] = deque[Row](row for row in queue if not row.left)
        self.rows = sum(len(queue) for queue in self._queues())
        self.tokens = sum(row.length for queue in self._queues() for row in queue)
        self._drop_empty()

    def drain(self) -> list[Row]:
        """Takes every row out."""
        rows = [row for queue in self._queues() for row in queue]
        self._languages.clear()
        self._turns.clear()
        self.rows = self.tokens = 0
        return rows

    def _queues(self) -> Iterator[deque[Row]]:
        return (queue for lane in self._languages.values() for queue in lane.values())

    def _take_oldest(self) -> Row | None:
        for _ in range(len(self._turns)):
            lane = self._next_lane()
            if (row := self._pop(lane, _oldest_first(lane))) is not None:
                return row
        self._drop_empty()
        return None

    def _fitting(self, lane: dict[int, deque[Row]], width: int, longest: int) -> list[int]:
        """Lengths of a lane that go with a batch so wide, those to be preferred first."""
        if width > longest:
            return []
        if self._alike:
            return sorted((each for each in lane if width / 2 < each <= width), reverse=True)
        return [each for each in _oldest_first(lane) if each <= longest]

    def _next_lane(self) -> dict[int, deque[Row]]:
        language = self._turns[0]
        self._turns.rotate(-1)
        return self._languages[language]

    def _pop(self, lane: dict[int, deque[Row]], lengths: Sequence[int]) -> Row | None:
        for length in lengths:
            queue = lane[length]
            while queue:
                row = queue.popleft()
                self.rows -= 1
                self.tokens -= row.length
                if not row.left:
                    return row
        return None

    def _drop_empty(self) -> None:
        for language in list(self._turns):
            lane = self._languages[language]
            for length in [each for each, queue in lane.items() if not queue]:
                del lane[length]
            if not lane:
                del self._languages[language]
        self._turns = deque(each for each in self._turns if each in self._languages)


def _oldest_first(lane: dict[int, deque[Row]]) -> list[int]:
    """Lengths of a lane at which rows wait, by who came first."""
    waiting = [length for length, queue in lane.items() if queue]
    return sorted(waiting, key=lambda length: lane[length][0].arrived)
