"""Copies of one module with noise, so that each answers in its own way, published for a while."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
from pydantic import Field

from benchmarks.experiment import OfBase
from benchmarks.requests import Request, Work
from benchmarks.sending import Asker
from benchmarks.systems import in_process, part_of
from langmod.errors import ConfigError
from langmod.specs import Axis
from langmod.store import ModuleStore
from service.settings import MEBIBYTE

TEXTS = 10
"""Different texts that copies are asked in each language."""
NOISE = 0.5
"""Standard deviation of the noise, in those of the module's tensors."""


class OfCopies(OfBase):
    """An experiment on many copies of a published module, each with its own noise."""

    module: str
    copies: int = Field(ge=2)
    ranks: tuple[int, ...] = ()
    """Of the copies in turn, instead of the module's own; numbers are cut off or noise is added."""
    work: Work
    """What is asked of every copy; its languages in turn."""
    concurrency: int = Field(default=32, ge=1)

    def copy_requests(self) -> list[Request]:
        """One request to each copy, numbered as they are, the same ones whenever this is called.

        Many copies are asked the same text, so that they can be seen to answer otherwise.
        """
        made = []
        mask_token = self.mask_token()
        for number in range(self.copies):
            around, at = divmod(number, len(self.work.languages))
            language = self.work.languages[at]
            text = self.work.text(language, around % TEXTS, mask_token)
            body = {**self.work.body, "modules": [f"{self.module}-{number}"]}
            naming = self.work.model_copy(update={"body": body})
            made.append(naming.request(number, language, [text]))
        return made

    @contextmanager
    def published(self) -> Iterator[Path]:
        """The bases of the models folder with no modules but the copies.

        Raises:
            ConfigError: there is no such module to copy.
        """
        place = self.models / self.base / "modules"
        originals = ModuleStore(place)
        if self.module not in originals.names():
            raise ConfigError(f"{place} holds no module {self.module!r} to copy")
        original = originals.load(self.module)
        role = original.manifest.role
        shapes = {b.tensor: b.row_shape for b in self.specs()[0].banks if b.role == role}
        with part_of(self.models, self.base, modules=False) as folder:
            store = ModuleStore(folder / self.base / "modules")
            for number in range(self.copies):
                rank = self.ranks[number % len(self.ranks)] if self.ranks else 0
                draw = np.random.default_rng((self.seed, number))
                tensors = {
                    name: _noisy(tensor, shapes[name], rank, draw)
                    for name, tensor in original.tensors.items()
                }
                manifest = original.manifest.model_copy(update={"name": f"{self.module}-{number}"})
                store.publish(manifest, tensors)
            yield folder

    def engine(
        self, stack: ExitStack, runner: asyncio.Runner, folder: Path, **settings: int
    ) -> Callable[[Sequence[Request]], dict[str, float]]:
        """Engines on the copies: figures of requests, and of this process and its slots since."""
        system = stack.enter_context(in_process(self, folder, **settings))
        asker, slots = Asker(system, runner), system.engines.encoder.bank.roles["language"]

        def ask(requests: Sequence[Request]) -> dict[str, float]:
            before = Counter(slots.events)
            figures = asker([requests], self.concurrency)
            events = Counter(slots.events) - before
            gc.collect()
            return {
                **figures,
                "in a slot": round(events["hit"] / (events["hit"] + events["load"]), 4),
                "evictions": slots.events["eviction"],
                "banks, MiB": round(slots.nbytes / MEBIBYTE, 2),
                "resident, MiB": round(psutil.Process().memory_info().rss / MEBIBYTE, 2),
            }

        return ask


def _noisy(
    tensor: np.ndarray, axes: Sequence[Axis], rank: int, draw: np.random.Generator
) -> np.ndarray:
    """A tensor of another rank, or of its own if that is 0, with noise."""
    pairs = zip(axes, tensor.shape, strict=True)
    shape = [rank if rank and str(axis).startswith("R.") else size for axis, size in pairs]
    values = NOISE * tensor.std() * draw.standard_normal(shape, np.float32)
    shared = tuple(map(slice, map(min, tensor.shape, shape)))
    values[shared] += tensor[shared]
    return values.astype(tensor.dtype)
