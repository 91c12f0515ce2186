"""A value from far away: kept, looked at again when it is too old, and never waited for long."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Value = TypeVar("Value")
PATIENCE = 1.0
"""Seconds that a request waits for a look before it goes on with what was seen before."""


class Poller(Generic[Value]):
    """What ``read`` returned last; one look at a time, each on a thread of its own.

    A look that fails leaves the value as it was.
    """

    def __init__(
        self,
        read: Callable[[], Value],
        value: Value,
        note: Callable[[Exception | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``note`` is called after every look with what went wrong, None when nothing did."""
        self.value = value
        self.serial = 0
        """Grows whenever a look finds another value."""
        self._read = read
        self._note = note
        self._clock = clock
        self._lock = threading.Lock()
        self._look: Future[None] = Future()
        self._look.set_result(None)
        self._started = float("-inf")

    def refresh(self, max_age: float, patience: float | None = PATIENCE) -> None:
        """Looks again if the last look began ``max_age`` seconds ago or more.

        Waits for the look under way until it is ``patience`` seconds old, None: until its end.
        """
        with self._lock:
            now = self._clock()
            if self._look.done() and now - self._started >= max_age:
                self._start(now)
            look, waited = self._look, now - self._started
        wait([look], None if patience is None else max(0.0, patience - waited))

    def _start(self, now: float) -> None:
        self._started = now
        self._look = Future()
        # A daemon: a look that hangs keeps nobody from ending the process.
        threading.Thread(target=self._run, args=(self._look,), daemon=True).start()

    def _run(self, look: "Future[None]") -> None:
        try:
            value = self._read()
            if value != self.value:
                self.value = value
                self.serial += 1
            self._note(None)
        except Exception as error:
            self._note(error)
        finally:
            look.set_result(None)
