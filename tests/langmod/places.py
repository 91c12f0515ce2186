"""Stores in every kind of place, empty and thrown away afterwards."""

import contextlib
import functools
import itertools
from datetime import datetime, timedelta
from uuid import uuid4

import fsspec
import pytest

START = datetime(2026, 1, 1)


@contextlib.contextmanager
def folder(tmp_path):
    yield str(tmp_path / "modules")


@contextlib.contextmanager
def memory(tmp_path):
    url = f"memory://{uuid4().hex}/tiny/modules"
    yield url
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(url, recursive=True)


@functools.cache
def s3_server():
    """A server of S3's protocol on this machine, until the tests end."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextlib.contextmanager
def s3(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_server())
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        bucket = uuid4().hex
        # S3 tells time in seconds, and a test publishes many versions in one.
        seconds = itertools.count()
        patch.setattr("moto.s3.models.utcnow", lambda: START + timedelta(seconds=next(seconds)))
        fsspec.filesystem("s3").mkdir(bucket)
        yield f"s3://{bucket}/models/tiny/modules"


@contextlib.contextmanager
def bento(tmp_path):
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    (tmp_path / "models").mkdir()
    # BENTOML_HOME is read once a process; the test of the command line sets it.
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    yield "bentoml://tiny"
    BentoMLContainer.model_store.reset()


PLACES = {"folder": folder, "memory": memory, "s3": s3, "bentoml": bento}
