"""How long the service takes to start, and how much memory it takes, beside an empty one."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

from pydantic import Field

from benchmarks.experiment import Answers, Column, Figures, Inputs, Served, Times, Ways, constant
from benchmarks.requests import Request, Work, requests_of
from benchmarks.running_service import EMPTY, SERVICE, running
from benchmarks.sending import send
from benchmarks.systems import client_of, service_settings
from service.settings import MEBIBYTE

OURS, EMPTY_ONE = "ours", "empty service"
SECONDS, READY, LATER = "start to ready, s", "ready, MiB", "after requests, MiB"


class Starts(Served):
    """Start the service and an empty one in turns, and look at their memory."""

    kind = "starts"
    columns = (
        Column("nothing kept, s", ".1f"),
        Column(SECONDS, ".1f"),
        *(Column(f"{name}{of}", form) for name in (READY, LATER)
          for of, form in (("", ".1f"), (" ÷ graph files", ".2f"), (" beyond the empty", ".2f"))),
        Column("graph files, MiB", ".1f"),
    )  # fmt: skip
    caption = (
        "The first start finds nothing kept; memory is resident memory of the process that "
        "answers, also as a multiple of the graph files, and what of it an empty service has not; "
        "{precision}."
    )

    work: tuple[Work, ...]
    """Asked before the memory is read a second time."""
    requests: int = Field(default=16, ge=1)
    """In each language of each work."""
    concurrency: int = Field(default=8, ge=1)
    repetitions: int = Field(default=3, ge=1)

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        runner = stack.enter_context(asyncio.Runner())
        settings = {**service_settings(self, self.models), "LANGMOD_CACHE": cache}
        return {
            OURS: {"": partial(self.start, runner, SERVICE, settings)},
            EMPTY_ONE: {"": partial(self.start, runner, EMPTY, {})},
        }

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        requests = requests_of(self.work, self.requests, 1, self.mask_token())
        yield "", constant(requests)

    def start(
        self,
        runner: asyncio.Runner,
        target: str,
        settings: Mapping[str, str],
        requests: Sequence[Request],
    ) -> dict[str, float]:
        """Seconds and memory of one start."""
        with running(target, settings) as service:
            ready = service.resident_bytes
            with client_of(service.address, runner, empty=target == EMPTY) as system:
                runner.run(send(system, [requests], self.concurrency))
            return {
                SECONDS: round(service.seconds, 3),
                READY: round(ready / MEBIBYTE, 2),
                LATER: round(service.resident_bytes / MEBIBYTE, 2),
            }

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        """Of ours with the start that found nothing kept, and memory beside the graph files."""
        own, empty = super().figures(arm, answers, times), answers[EMPTY_ONE][1:]
        if arm == EMPTY_ONE:
            return own
        files = [
            self.models / spec.base.name / "onnx" / self.precision / graph.file
            for spec in self.specs()
            for graph in spec.graphs.values()
        ]
        graphs = round(sum(file.stat().st_size for file in files) / MEBIBYTE, 2)
        figures = {**own, "graph files, MiB": (graphs,)}
        for name in (READY, LATER):
            beyond = median(own[name]) - median(each[name] for each in empty)
            figures[f"{name} ÷ graph files"] = tuple(round(each / graphs, 6) for each in own[name])
            figures[f"{name} beyond the empty"] = (round(beyond / graphs, 6),)
        return {**figures, "nothing kept, s": (answers[arm][0][SECONDS],)}
