"""A models folder of its own, with modules; the engine of its encoder; the service over HTTP."""

import shutil

import pytest
from starlette.testclient import TestClient

from service.settings import Settings
from tests.service.published import publish, publish_fleet


@pytest.fixture
def encoder_folder(tiny_encoder, tmp_path):
    """A copy of the tiny encoder with modules that a test may change."""
    folder = tmp_path / "models" / tiny_encoder.name
    shutil.copytree(tiny_encoder, folder)
    publish_fleet(folder)
    return folder


@pytest.fixture
def translator_folder(tiny_translator, tmp_path):
    """A copy of the tiny translator with modules of two directions, too weak to be endless."""
    folder = tmp_path / "models" / tiny_translator.name
    shutil.copytree(tiny_translator, folder)
    publish(folder, "ko-en", "language", "bottleneck", scale=0.2, source="ko", target="en")
    publish(folder, "en-ko", "language", "lora", scale=0.2, source="en", target="ko")
    return folder


@pytest.fixture(params=["fp32", "int8"])
def precision(request):
    return request.param


@pytest.fixture
def settings(encoder_folder):
    return Settings(models=encoder_folder.parent, precision="fp32", threads=1)


@pytest.fixture
def engine(encoder_folder, settings):
    from service.encoder import EncoderEngine

    engine = EncoderEngine(encoder_folder, settings, None)
    yield engine
    engine.close()


@pytest.fixture
def serve(monkeypatch):
    """Starts the service with given settings and returns a client."""
    from service import service

    clients = []

    def start(settings):
        monkeypatch.setattr(service, "SETTINGS", settings)
        # BentoML registers its own series once a process.
        monkeypatch.setitem(service.Langmod.config, "metrics", {"enabled": False})
        client = TestClient(service.Langmod.to_asgi())
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve, settings):
    return serve(settings)
