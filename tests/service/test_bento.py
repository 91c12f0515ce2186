"""The bento as it ships: built here, served from an empty directory by a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BENTOML = Path(sys.executable).with_name("bentoml")


def test_the_bento_installs_what_the_serving_extra_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    assert sorted(packages) == sorted(
        project["dependencies"] + project["optional-dependencies"]["serve"]
    )


@pytest.fixture(scope="module")
def bento(models_folder, tmp_path_factory):
    """Builds the bento with the tiny bases; yields the environment that knows it."""
    folder = tmp_path_factory.mktemp("bento")
    for name in ("service", "langmod"):
        shutil.copytree(ROOT / name, folder / "src" / name)
    shutil.copy(ROOT / "bentofile.yaml", folder / "src")
    shutil.copytree(models_folder, folder / "src" / "models")
    known = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    environment = {**known, "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [BENTOML, "build", "--version", "test"]
    subprocess.run(command, cwd=folder / "src", env=environment, check=True, capture_output=True)
    # What answers must come out of the bento.
    shutil.rmtree(folder / "src")
    return environment


@pytest.fixture(scope="module")
def server(bento, tmp_path_factory):
    """The address of the bento served from an empty directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        [BENTOML, "serve", "langmod:test", "--host", "127.0.0.1", "--port", port],
        cwd=tmp_path_factory.mktemp("empty"),
        env=bento,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(address, process):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            if httpx.get(f"{address}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("not ready within three minutes")


def test_the_bento_answers_from_an_empty_directory(server):
    body = {"texts": ["The <mask>.", "none"], "language": "en"}
    results = httpx.post(f"{server}/fill_mask", json=body).json()["results"]
    assert len(results[0]["masks"][0]) == 5
    assert results[1]["error"]["code"] == "no_mask_token"
    assert (
        httpx.post(f"{server}/fill_mask", json={"texts": 1}).json()["error"]["code"]
        == "bad_request"
    )


def test_the_series_count_what_was_answered(server):
    httpx.post(f"{server}/embed", json={"texts": ["The train"], "language": "en"})
    page = httpx.get(f"{server}/metrics").text
    labels = 'base="tiny-encoder",endpoint="embed",language="en",outcome="ok"'
    assert f"langmod_texts_total{{{labels}}} 1.0" in page
    for stage in ("encode", "queue", "run", "decode"):
        assert f'language="en",stage="{stage}"' in page
    assert "bentoml_service_request_total" in page


def test_pages_of_bentoml_are_there(server):
    assert httpx.get(f"{server}/livez").status_code == 200
    assert httpx.get(f"{server}/").status_code == 200
    assert "/classify" in httpx.get(f"{server}/docs.json").json()["paths"]
    bases = httpx.get(f"{server}/modules").json()["bases"]
    assert [(base["kind"], base["precision"]) for base in bases] == [
        ("encoder", "int8"),
        ("translator", "int8"),
    ]
