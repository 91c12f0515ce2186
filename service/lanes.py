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
        """Its tokens, special ones included."""
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


class Lanes(Generic[Row]):
    """Rows by language and padded length; batches take from the languages in turn."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[int, deque[Row]]] = {}
        self._turns: deque[str] = deque()
        self.rows = 0
        """Rows waiting, those that left since the last purge included."""
        self.tokens = 0
        """Their tokens."""

    def put(self, row: Row) -> None:
        """Puts a row at the end of its language's lane."""
        if row.language not in self._lanes:
            self._lanes[row.language] = {}
            self._turns.append(row.language)
        self._lanes[row.language].setdefault(padded(row.length), deque()).append(row)
        self.rows += 1
        self.tokens += row.length

    def take(self, tokens: int, rows: int) -> list[Row]:
        """The next batch: at most so many rows, and tokens after padding to its longest row.

        The language whose turn it is gives its oldest row, which sets the batch's length; then the
        languages in turn give rows between half that length and that length. A row longer than the
        budget goes alone.
        """
        first = self._take_oldest()
        if first is None:
            return []
        width = padded(first.length)
        batch = [first, *self._take_alike(width, min(rows, tokens // width) - 1)]
        self._drop_empty()
        return batch

    def purge(self) -> None:
        """Drops the rows that left."""
        for lane in self._lanes.values():
            for length, queue in lane.items():
                lane[length] = deque[Row](row for row in queue if not row.left)
        self.rows = sum(len(queue) for queue in self._queues())
        self.tokens = sum(row.length for queue in self._queues() for row in queue)
        self._drop_empty()

    def drain(self) -> list[Row]:
        """Takes every row out."""
        rows = [row for queue in self._queues() for row in queue]
        self._lanes.clear()
        self._turns.clear()
        self.rows = self.tokens = 0
        return rows

    def _queues(self) -> Iterator[deque[Row]]:
        return (queue for lane in self._lanes.values() for queue in lane.values())

    def _take_oldest(self) -> Row | None:
        for _ in range(len(self._turns)):
            lane = self._next_lane()
            waiting = [length for length, queue in lane.items() if queue]
            oldest = sorted(waiting, key=lambda length: lane[length][0].arrived)
            if (row := self._pop(lane, oldest)) is not None:
                return row
        self._drop_empty()
        return None

    def _take_alike(self, width: int, room: int) -> Iterator[Row]:
        passed = 0
        while room > 0 and passed < len(self._turns):
            lane = self._next_lane()
            alike = sorted((each for each in lane if width / 2 < each <= width), reverse=True)
            row = self._pop(lane, alike)
            if row is None:
                passed += 1
                continue
            passed, room = 0, room - 1
            yield row

    def _next_lane(self) -> dict[int, deque[Row]]:
        language = self._turns[0]
        self._turns.rotate(-1)
        return self._lanes[language]

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
            lane = self._lanes[language]
            for length in [each for each, queue in lane.items() if not queue]:
                del lane[length]
            if not lane:
                del self._lanes[language]
        self._turns = deque(each for each in self._turns if each in self._lanes)
