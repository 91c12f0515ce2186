"""The service as its users start it, in a process of its own, for as long as it is needed."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

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
    """The process that was started, and started those that answer."""
    seconds: float
    """From its start until it was ready."""

    @property
    def resident_bytes(self) -> int:
        """Memory of the process that answers: the largest that was started; shared pages count."""
        started = psutil.Process(self.process).children(recursive=True)
        return max((int(each.memory_info().rss) for each in started), default=0)


@contextmanager
def running(target: str, settings: Mapping[str, str]) -> Iterator[Running]:
    """Starts a BentoML service of this source, ``module:Class``, on a free port.

    Raises:
        Unavailable: it ended, or was not ready within two minutes; the end of its log is in the
            message.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", target]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    # This source comes first, wherever langmod is installed from.
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "BENTOML_DO_NOT_TRACK": "True", **settings}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            if not _ready(process, address):
                log.seek(0)
                raise Unavailable(f"the service did not start: …{log.read()[-2000:]}")
            yield Running(address, process.pid, time.monotonic() - began)
        finally:
            _stop(process)


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


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process with its workers, which are of its session."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
