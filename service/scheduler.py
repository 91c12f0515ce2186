"""Rows of all endpoints of one base meet in one bounded queue and leave it in mixed batches.

One worker thread per base runs the batches; callers wait on asyncio. The scheduler knows nothing of
what a row is: it needs its length and language, and ``run`` to answer a batch.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from langmod.errors import Overloaded, Unavailable
from service import metrics
from service.fair_queue import FairQueue

logger = logging.getLogger("langmod.scheduler")
LONGEST_RETRY = 60
"""Seconds a refused caller is told to wait at most."""
SPEED_MEMORY = 0.8
"""Weight of the past in the running estimate of tokens a second."""


class Schedulable(Protocol):
    """What the scheduler must know of a row."""

    @property
    def language(self) -> str:
        """Whose turn it takes; languages take turns."""
        ...

    @property
    def length(self) -> int:
        """How many tokens it has, special ones included."""
        ...


Row = TypeVar("Row", bound=Schedulable)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Limits:
    """Bounds of one scheduler."""

    queued_rows: int = 2048
    """Rows that may wait; a request beyond is refused."""
    batch_rows: int = 64
    batch_tokens: int = 4096
    """Tokens of a batch after padding."""


@dataclass(eq=False)
class Ticket(Generic[Row, Answer]):
    """A waiting row and the promise of its answer."""

    row: Row
    future: "asyncio.Future[Answer]"
    """The promise; only the caller's loop, to which it belongs, may settle it."""
    arrived: float = field(default_factory=time.monotonic)

    @property
    def language(self) -> str:
        """The language of its row."""
        return self.row.language

    @property
    def length(self) -> int:
        """The tokens of its row."""
        return self.row.length

    @property
    def left(self) -> bool:
        """The caller went away."""
        return self.future.cancelled()


class Scheduler(Generic[Row, Answer]):
    """Batches rows by tokens and length, languages in turn, on one worker thread.

    ``run`` answers a batch in order: for each row its answer, or an exception for that row alone.
    If it raises, the rows are run one by one, so that only the culprit fails.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[Row]], Sequence[Answer | Exception]],
        limits: Limits,
        alike: bool = True,
    ) -> None:
        """``alike``: whether a batch costs what its longest row does times its rows."""
        self.name = name
        self.limits = limits
        self._run = run
        self._waiting: FairQueue[Ticket[Row, Answer]] = FairQueue(alike)
        self._changed = threading.Condition()
        self._closed = False
        self._tokens_a_second = 0.0
        self._worker = threading.Thread(target=self._work, name=f"run-{name}", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Rows that wait now."""
        return self._waiting.rows

    @property
    def alive(self) -> bool:
        """Whether batches are being run."""
        return self._worker.is_alive() and not self._closed

    async def submit(self, rows: Sequence[Row]) -> list[Answer | BaseException]:
        """Answers in order, an exception in the place of a row that failed.

        Either all rows are taken in or none; if the caller is cancelled, its waiting rows leave.

        Raises:
            Overloaded: the queue has no room; no row was taken in.
            Unavailable: the scheduler is closed.
        """
        loop = asyncio.get_running_loop()
        tickets: list[Ticket[Row, Answer]] = [Ticket(row, loop.create_future()) for row in rows]
        self._admit(tickets)
        promises = [ticket.future for ticket in tickets]
        return await asyncio.gather(*promises, return_exceptions=True)

    def close(self) -> None:
        """Ends the worker after the running batch; waiting rows fail as ``Unavailable``."""
        with self._changed:
            self._closed = True
            stranded = self._waiting.drain()
            self._changed.notify_all()
        _settle([(ticket, self._stopping()) for ticket in stranded])
        self._worker.join()

    def _stopping(self) -> Unavailable:
        return Unavailable(f"base {self.name} is stopping; send the request again")

    def _admit(self, tickets: list[Ticket[Row, Answer]]) -> None:
        with self._changed:
            if self._closed:
                raise self._stopping()
            if self._full(len(tickets)):
                self._waiting.purge()
            # A request larger than the whole queue is taken in when nobody else waits.
            if self._full(len(tickets)):
                raise self._overloaded(len(tickets))
            for ticket in tickets:
                self._waiting.put(ticket)
            self._changed.notify()
        metrics.QUEUED_ROWS.labels(self.name).set(self._waiting.rows)

    def _full(self, more: int) -> bool:
        return self._waiting.rows > 0 and self._waiting.rows + more > self.limits.queued_rows

    def _overloaded(self, more: int) -> Overloaded:
        ahead = self._waiting.tokens
        seconds = math.ceil(ahead / self._tokens_a_second) if self._tokens_a_second else 1
        retry_after = min(max(seconds, 1), LONGEST_RETRY)
        return Overloaded(
            f"{self._waiting.rows} texts wait for base {self.name} and {more} more were sent; "
            f"at most {self.limits.queued_rows} may wait; try again in {retry_after} s",
            retry_after=retry_after,
        )

    def _work(self) -> None:
        # Between batches no name here holds on to rows, whose modules may be evicted by then.
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Waits for rows and answers a batch; False when the scheduler was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting.rows)
            if self._closed:
                return False
            batch = self._waiting.take(self.limits.batch_tokens, self.limits.batch_rows)
        metrics.QUEUED_ROWS.labels(self.name).set(self._waiting.rows)
        live = [each for each in batch if not each.left]
        if live:
            self._measure_and_answer(live)
        return True

    def _measure_and_answer(self, tickets: list[Ticket[Row, Answer]]) -> None:
        started = time.monotonic()
        for ticket in tickets:
            metrics.observe(self.name, "queue", ticket.language, started - ticket.arrived)
        metrics.BATCH_ROWS.labels(self.name).observe(len(tickets))
        _settle(self._answers(tickets))
        taken = max(time.monotonic() - started, 1e-6)
        for ticket in tickets:
            metrics.observe(self.name, "run", ticket.language, taken)
        speed = sum(ticket.length for ticket in tickets) / taken
        past = self._tokens_a_second or speed
        self._tokens_a_second = SPEED_MEMORY * past + (1 - SPEED_MEMORY) * speed

    def _answers(
        self, tickets: list[Ticket[Row, Answer]]
    ) -> list[tuple[Ticket[Row, Answer], Answer | Exception]]:
        try:
            return list(zip(tickets, self._run([each.row for each in tickets]), strict=True))
        except Exception as error:
            if len(tickets) == 1:
                return [(tickets[0], error)]
            logger.exception("a batch of %d rows of %s failed as a whole", len(tickets), self.name)
            return [each for ticket in tickets for each in self._answers([ticket])]


def _settle(answers: Sequence[tuple[Ticket[Row, Answer], Answer | Exception]]) -> None:
    """Hands answers to their callers' loops, each of which is woken once.

    To wake a loop gives up the interpreter; done for each row, a worker would wait as often for a
    busy loop to give it back.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Ticket[Row, Answer], Answer | Exception]]]
    loops = {}
    for ticket, answer in answers:
        loops.setdefault(ticket.future.get_loop(), []).append((ticket, answer))
    for loop, own in loops.items():
        # A loop that was closed has nobody who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_here, own)


def _settle_here(answers: Sequence[tuple[Ticket[Row, Answer], Answer | Exception]]) -> None:
    for ticket, answer in answers:
        if ticket.left:
            continue
        if isinstance(answer, Exception):
            ticket.future.set_exception(answer)
        else:
            ticket.future.set_result(answer)
