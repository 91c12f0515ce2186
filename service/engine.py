"""What the engines of all bases share: text in, rows through one queue and bank, answers out."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from langmod.encoding import TextEncoder
from langmod.errors import BadRequest, LangmodError, Unavailable
from langmod.langid import LanguageIdentifier
from langmod.specs import Role
from langmod.tasks import Text
from service import metrics
from service.bank import Bank, Pinned, Stack
from service.remote import open_store
from service.scheduler import Scheduler
from service.session import GraphSet
from service.settings import Settings
from service.stacks import Resolver
from service.text.characters import clean, is_blank
from service.text.detection import Choice, Detector

logger = logging.getLogger("langmod.engine")
ROWS = 2
"""Rows of a batch below which a second thread does not pay."""
FEW = 2
"""Texts that are finished on the event loop."""
Json = dict[str, Any]
Outcome = Json | LangmodError
"""An answer, or the fault of one text."""


class EngineRow(Protocol):
    """What an engine must know of a row to run it."""

    @property
    def language(self) -> str:
        """Whose turn it takes."""
        ...

    @property
    def length(self) -> int:
        """Its tokens."""
        ...

    @property
    def stack(self) -> Stack:
        """The modules it runs through."""
        ...


Row = TypeVar("Row", bound=EngineRow)
Known = TypeVar("Known")


@dataclass(frozen=True)
class Prepared(Generic[Row]):
    """A text on its way: the rows to run and what turns their outputs into the answer."""

    rows: Sequence[Row]
    """One or more; all go into one round of batches."""
    finish: "Callable[[Sequence[Any]], Json | Prepared[Row]]"
    """From an output for each row to the answer, or to the rows of another round."""

    @property
    def row(self) -> Row:
        """The first row, for what all have in common."""
        return self.rows[0]


Prepare: TypeAlias = Callable[[int, Text], Json | Prepared[Row]]
"""From a text, cleaned, and its place to the rows to run, or to the answer if it needs none."""


@dataclass(frozen=True)
class Spoken:
    """The language of a text, given or detected."""

    tag: str
    probability: float | None = None
    """None where it was given."""


class Engine(ABC, Generic[Row]):
    """One base: its graphs, tokenizer, modules, bank and queue."""

    alike: ClassVar[bool] = True
    """Whether the rows of a batch are of like length, as each is padded to the longest."""

    def __init__(
        self, folder: Path, settings: Settings, identifier: LanguageIdentifier | None
    ) -> None:
        """Opens a base's folder.

        Raises:
            ConfigError: graphs or tokenizer are missing or damaged, or no such kind of store.
            Unavailable: the provider asked for is not active.
        """
        self.settings = settings
        self.graphs = GraphSet(folder, settings)
        self.base = self.graphs.base
        self.encoder = TextEncoder(folder / "tokenizer.json", self.base)
        store, banks = open_store(folder, self.base.name, settings), self.graphs.spec.banks
        self.resolver = Resolver(store, self.base, banks, settings)
        self.bank = Bank(banks, settings.budget, self._note_bank)
        self._identifier = identifier
        self._detector = Detector(identifier, settings.detection_threshold) if identifier else None
        self._threads = ThreadPoolExecutor(self.graphs.side_by_side, f"part-{self.base.name}")
        self.scheduler: Scheduler[Row, Any] = Scheduler(
            self.base.name, self.run, settings.limits, self.alike
        )

    @abstractmethod
    def execute(self, rows: list[Row], pinned: Pinned) -> Sequence[Any]:
        """Runs rows whose modules lie in the bank: an output, or an exception, for each."""

    def run(self, rows: list[Row]) -> list[Any]:
        """Runs any rows, in as many parts as the bank's slots call for."""
        stacks = [row.stack for row in rows]
        outputs: list[Any] = []
        for part in self.bank.split(stacks):
            with self.bank.pin(stacks[part]) as pinned:
                self._measure_bank()
                outputs.extend(self._execute_side_by_side(rows[part], pinned))
        return outputs

    def _execute_side_by_side(self, rows: list[Row], pinned: Pinned) -> Sequence[Any]:
        """Parts of a batch at once, where the graphs run best so; no row's numbers depend on it."""
        count = min(self.graphs.side_by_side, len(rows) // ROWS)
        if count <= 1:
            return self.execute(rows, pinned)
        parts = parts_by_length([row.length for row in rows], count)
        running = [
            self._threads.submit(self.execute, [rows[place] for place in part], pinned.take(part))
            for part in parts
        ]
        # All must have ended before their modules may leave the bank.
        wait(running)
        found = dict(zip(chain(*parts), chain(*(each.result() for each in running)), strict=True))
        return [found[place] for place in range(len(rows))]

    async def answer(
        self,
        endpoint: str,
        texts: Sequence[Text],
        plan: Callable[[], Prepare[Row]],
    ) -> list[Outcome]:
        """Answers texts in order; a fault of one text stands in its place.

        ``plan`` is called on a worker thread, and what it returns for each text.

        Raises:
            Overloaded, Unavailable: no text was taken in.
            LangmodError: what ``plan`` raises.
        """
        prepared = await asyncio.to_thread(lambda: self._prepare(texts, plan()))
        underway: list[Outcome | Prepared[Row]] = prepared
        while any(isinstance(each, Prepared) for each in underway):
            underway = await self._round(underway)
        outcomes = [each for each in underway if not isinstance(each, Prepared)]
        self._count(endpoint, prepared, outcomes)
        return outcomes

    async def _round(
        self, underway: Sequence[Outcome | Prepared[Row]]
    ) -> list[Outcome | Prepared[Row]]:
        """Runs the rows of all texts on their way."""
        rows = [row for each in underway if isinstance(each, Prepared) for row in each.rows]
        outputs = iter(await self._submit(rows))
        ran = [
            (each, [next(outputs) for _ in each.rows]) if isinstance(each, Prepared) else each
            for each in underway
        ]
        # To finish a text takes less than to change threads.
        if len(rows) <= FEW:
            return [self._finish(each) for each in ran]
        return await asyncio.to_thread(lambda: [self._finish(each) for each in ran])

    async def _submit(self, rows: Sequence[Row]) -> list[Any]:
        """Rows through the queue; the sentences of long texts one queueful after the other."""
        outputs: list[Any] = []
        for start in range(0, len(rows), self.settings.queued_texts):
            part = rows[start : start + self.settings.queued_texts]
            outputs.extend(await self.scheduler.submit(part))
        return outputs

    def speak(
        self, texts: Sequence[Text], given: str | None, choice: Callable[[], Choice]
    ) -> "list[Spoken | LangmodError]":
        """The language of each text: the one that was given, or each its own.

        Args:
            texts: texts, or pairs of them.
            given: a canonical tag; None where it is to be detected.
            choice: what it may be; only asked where it is to be detected.

        Returns:
            For each text its language, or why that cannot be told.

        Raises:
            BadRequest: none was given and there is nothing to detect it with.
        """
        if given is not None:
            return [Spoken(given)] * len(texts)
        if self._detector is None:
            field = choice().field
            raise BadRequest(f"{field}: name it; no language identifier is installed here")
        plain = (text if isinstance(text, str) else " ".join(text) for text in map(cleaned, texts))
        # A mask's letters are not of the text.
        mask, found = self.base.mask_token or "\0", choice()
        return [_detected(self._detector, text.replace(mask, " "), found) for text in plain]

    def close(self) -> None:
        """Ends the queue's worker and those beside it."""
        self.scheduler.close()
        self._threads.shutdown()

    def _note_bank(self, role: Role, event: str) -> None:
        metrics.BANK_EVENTS.labels(self.base.name, role, event).inc()

    def _measure_bank(self) -> None:
        name = self.base.name
        for role, slots in self.bank.roles.items():
            metrics.BANK_MODULES.labels(name, role).set(len(slots.resident))
        metrics.BANK_BYTES.labels(name, "banks").set(self.bank.nbytes)
        metrics.BANK_BYTES.labels(name, "slots").set(self.bank.module_bytes)
        metrics.BANK_BYTES.labels(name, "memory").set(self.resolver.cache.nbytes)

    def _prepare(
        self, texts: Sequence[Text], prepare: Prepare[Row]
    ) -> "list[Outcome | Prepared[Row]]":
        prepared: list[Outcome | Prepared[Row]] = []
        for place, text in enumerate(texts):
            started = time.monotonic()
            try:
                ready = prepare(place, _not_empty(cleaned(text), text))
            except LangmodError as error:
                prepared.append(error)
                continue
            taken = time.monotonic() - started
            if isinstance(ready, Prepared):
                metrics.observe(self.base.name, "encode", ready.row.language, taken)
            prepared.append(ready)
        return prepared

    def _finish(
        self, ran: "tuple[Prepared[Row], list[Any]] | Outcome"
    ) -> "Outcome | Prepared[Row]":
        if not isinstance(ran, tuple):
            return ran
        prepared, outputs = ran
        started = time.monotonic()
        try:
            for output in outputs:
                if isinstance(output, BaseException):
                    raise output
            return prepared.finish(outputs)
        except Unavailable:
            raise
        except LangmodError as error:
            return error
        except Exception:
            logger.exception("a text failed")
            return LangmodError("this text could not be answered; the server's log says why")
        finally:
            taken = time.monotonic() - started
            metrics.observe(self.base.name, "decode", prepared.row.language, taken)

    def _count(
        self,
        endpoint: str,
        prepared: "Sequence[Outcome | Prepared[Row]]",
        outcomes: Sequence[Outcome],
    ) -> None:
        for each, outcome in zip(prepared, outcomes, strict=True):
            language = each.row.language if isinstance(each, Prepared) else ""
            code = outcome.code if isinstance(outcome, LangmodError) else "ok"
            metrics.TEXTS.labels(self.base.name, endpoint, language, code).inc()
            if isinstance(each, Prepared):
                for key in each.row.stack.keys:
                    metrics.MODULE_TEXTS.labels(self.base.name, key.partition("@")[0]).inc()


def known(outcome: Known | LangmodError) -> Known:
    """What is known of a text; raises what kept it from being known."""
    if isinstance(outcome, LangmodError):
        raise outcome
    return outcome


def parts_by_length(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Places of rows in at most ``count`` parts of about as many tokens, like beside like.

    Short rows are not padded to long ones, and do not wait for their last tokens.
    """
    parts: list[list[int]] = [[] for _ in range(count)]
    before, tokens = 0, sum(lengths)
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        middle = before + lengths[place] / 2
        parts[int(count * middle / tokens)].append(place)
        before += lengths[place]
    return [part for part in parts if part]


def _detected(detector: Detector, text: str, choice: Choice) -> "Spoken | LangmodError":
    try:
        _not_empty(text, text)
        return Spoken(*detector.detect(text, choice))
    except LangmodError as error:
        return error


def cleaned(text: Text) -> Text:
    """A text, or pair of texts, as it is read."""
    return clean(text).text if isinstance(text, str) else (clean(text[0]).text, clean(text[1]).text)


def _not_empty(text: Text, given: Text) -> Text:
    if any(map(is_blank, [text] if isinstance(text, str) else text)):
        raise BadRequest(f"the text is empty (got {given!r}); leave it out or write something")
    return text
