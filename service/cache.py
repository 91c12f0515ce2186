"""Modules in host memory, between the store on disk and the slots of a bank.

Requests load here before their rows wait, so that a batch never waits for a disk.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from langmod.errors import LangmodError
from langmod.store import Module

Key = tuple[str, str]
"""Name and digest."""


@dataclass(frozen=True)
class Refusal:
    """Why a module could not be loaded, and until when that is taken for granted."""

    error: LangmodError
    until: float
    stamp: object


class ModuleCache:
    """Loaded modules by name and digest, least recently used out beyond a byte budget.

    Requests that want the same module at once share one load. A module that could not be loaded is
    refused from memory for a while, or until its files change.
    """

    def __init__(
        self,
        load: Callable[[str, str], Module],
        stamp: Callable[[str, str], object],
        budget: int,
        refuse_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``load`` reads a module; ``stamp`` changes when its files do."""
        self.budget = budget
        self._load = load
        self._stamp = stamp
        self._refuse_seconds = refuse_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._modules: OrderedDict[Key, Module] = OrderedDict()
        self._loading: dict[Key, Future[Module]] = {}
        self._refused: dict[Key, Refusal] = {}
        self.nbytes = 0

    def get(self, name: str, digest: str) -> Module:
        """The module, from memory or disk.

        Raises:
            LangmodError: what loading it raised, now or within the last ``refuse_seconds``.
        """
        key = (name, digest)
        with self._lock:
            if key in self._modules:
                self._modules.move_to_end(key)
                return self._modules[key]
            self._raise_refused(key)
            promise, mine = self._loading.get(key), False
            if promise is None:
                promise, mine = Future(), True
                self._loading[key] = promise
        if mine:
            self._fulfil(key, promise)
        return promise.result()

    def _raise_refused(self, key: Key) -> None:
        refusal = self._refused.get(key)
        if refusal is None:
            return
        if self._clock() < refusal.until and self._stamp(*key) == refusal.stamp:
            raise refusal.error.with_traceback(None)
        del self._refused[key]

    def _fulfil(self, key: Key, promise: "Future[Module]") -> None:
        stamp = None
        try:
            stamp = self._stamp(*key)
            module = self._load(*key)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
                if isinstance(error, LangmodError):
                    self._refuse(key, error, stamp)
            promise.set_exception(error)
            return
        with self._lock:
            del self._loading[key]
            self._keep(key, module)
        promise.set_result(module)

    def _refuse(self, key: Key, error: LangmodError, stamp: object) -> None:
        now = self._clock()
        valid = {each: refusal for each, refusal in self._refused.items() if now < refusal.until}
        # Without its traceback and cause, whose frames hold the bytes of the file.
        error.__cause__ = error.__context__ = None
        bare = error.with_traceback(None)
        self._refused = {**valid, key: Refusal(bare, now + self._refuse_seconds, stamp)}

    def _keep(self, key: Key, module: Module) -> None:
        self._modules[key] = module
        self.nbytes += module.nbytes
        while self.nbytes > self.budget and len(self._modules) > 1:
            _, dropped = self._modules.popitem(last=False)
            self.nbytes -= dropped.nbytes
