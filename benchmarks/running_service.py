"""The service as its users start it, in a process of its own, for as long as it is needed."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from langmod.errors import Unavailable

ROOT = Path(__file__).parents[1]
SERVICE = "service.service:Langmod"
EMPTY = "benchmarks.empty_service:Empty"
START_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    address: str
    process: int
    """That was started, and started those that answer."""
    seconds: float
    """From its start until it was ready."""

    @property
    def resident_bytes(self) -> int:
        """Of the process that answers: the largest that it started. Shared pages count in full."""
        return max(map(_resident_bytes, _started_by(self.process)), default=0)


@contextmanager
def running_service(settings: Mapping[str, str]) -> Iterator[str]:
    """Starts the service on a free port, with ``LANGMOD_*`` settings; yields its address.

    Raises:
        Unavailable: it ended, or was not ready within two minutes; the end of its log is in the
            message.
    """
    with running(SERVICE, settings) as service:
        yield service.address


@contextmanager
def running(target: str, settings: Mapping[str, str]) -> Iterator[Running]:
    """Starts a BentoML service of this source, ``module:Class``.

    Raises:
        Unavailable: as above.
    """
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            if not _ready(process, address):
                log.seek(0)
                raise Unavailable(f"the service did not start: …{log.read()[-2000:]}")
            yield Running(address, process.pid, time.monotonic() - began)
        finally:
            _stop(process)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This source first, wherever langmod is installed from."""
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    own = {"PYTHONPATH": os.pathsep.join(paths), "BENTOML_DO_NOT_TRACK": "True"}
    return {**os.environ, **own, **settings}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(process: "subprocess.Popen[bytes]", address: str) -> bool:
    end = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=5) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get(f"{address}/readyz").is_success:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    return False


def _started_by(process: int) -> Iterator[int]:
    """Processes that one started, and those that these did."""
    for place in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, place.read_text(encoding="ascii").split()):
                yield child
                yield from _started_by(child)


def _resident_bytes(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends it with its workers, which are of its session."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
