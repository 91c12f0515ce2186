"""The command line of stores."""

import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from langmod import __main__ as entry
from langmod import command_line
from langmod.errors import BadRequest, ConfigError, UnknownModule
from langmod.store import ModuleStore
from tests.langmod.places import PLACES
from tests.service.modules import manifest, tensors


@pytest.fixture
def store(tmp_path):
    with PLACES["memory"](tmp_path) as url:
        yield url


def publish(place, name="mn", value=1.0, **fields):
    made = manifest(name, **{"languages": ("mn", "bxr"), **fields})
    return ModuleStore(place).publish(made, tensors(value=value))


def run(*arguments):
    return CliRunner().invoke(entry.app, arguments, catch_exceptions=False).output


def test_modules_are_listed_with_what_they_are_for(store):
    publish(store)
    second = publish(store, value=2)
    pair = publish(store, "ko-en", source="ko", target="en")
    topic = publish(store, "topic", role="task", task="topic", languages=("*",))
    broken = publish(store, "worn")
    ModuleStore(store).storage.put("worn", broken, {"module.json": b"{}"})
    assert [line.split() for line in run("list", store).splitlines()[:3]] == [
        [f"ko-en@{pair}", "language", "bottleneck", "ko-en", "1", "version"],
        [f"mn@{second}", "language", "bottleneck", "mn,bxr", "2", "versions"],
        [f"topic@{topic}", "topic", "bottleneck", "*", "1", "version"],
    ]
    assert "worn  broken: module 'worn': module.json has digest" in run("list", store)


def test_a_base_s_folder_stands_for_its_modules(tmp_path):
    (tmp_path / "base.json").write_text("{}")
    digest = publish(tmp_path / "modules")
    assert run("list", str(tmp_path)).startswith(f"mn@{digest} ")
    assert run("list", str(tmp_path / "modules")).startswith(f"mn@{digest} ")
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        run("list", str(tmp_path / "nowhere"))


def test_any_version_is_shown_as_it_was_sealed(store):
    old, new = publish(store), publish(store, value=2, licence="CC0-1.0")
    opened = ModuleStore(store)
    assert run("show", store, "mn") == opened.storage.read("mn", new, "module.json").decode()
    assert run("show", store, f"mn@{old}").encode() == opened.storage.read("mn", old, "module.json")


def test_two_versions_are_told_apart(store):
    metric = {"name": "pppl", "split": "dev", "language": "mn", "signature": "s", "data": "d"}
    old = publish(store, config={"rank": 4, "at": {"a": 1}}, metrics=[metric | {"value": 9.5}])
    new = publish(
        store, value=1.5, config={"rank": 4, "at": {"a": 2}}, metrics=[metric | {"value": 9.0}]
    )
    assert run("diff", store, "mn").splitlines() == [
        f"mn@{old} -> mn@{new}",
        "  config.at.a: 1 -> 2",
        "  pppl (dev, mn, s): 9.5 -> 9.0",
        "  down: moved by 50.0% of its length, one number by 0.5",
        "  up: moved by 50.0% of its length, one number by 0.5",
    ]
    assert run("diff", store, f"mn@{new}", f"mn@{old}").startswith(f"mn@{new} -> mn@{old}\n")
    assert run("diff", store, f"mn@{new}") == f"mn@{new} -> mn@{new}\n"


def test_tensors_of_other_forms_are_told_apart(store):
    publish(store)
    half = {name: each.astype(np.float16) for name, each in tensors().items()}
    half["up"] = half["up"][:1]
    half["bias"] = np.zeros(3, np.float32)
    ModuleStore(store).publish(manifest("mn", languages=("mn",)), half)
    assert run("diff", store, "mn").splitlines()[1:] == [
        "  languages: ['mn', 'bxr'] -> ['mn']",
        "  bias: none -> float32 [3]",
        "  down: float32 [2, 3, 2] -> float16 [2, 3, 2], moved by 0.0% of its length, one number"
        " by 0",
        "  up: float32 [2, 2, 3] -> float16 [1, 2, 3]",
    ]


def test_latest_is_rolled_back_with_one_command(store):
    old, new = publish(store), publish(store, value=2)
    assert run("rollback", store, "mn") == f"mn@{old} serves\n"
    assert ModuleStore(store).latest("mn") == old
    assert run("rollback", store, "mn", new) == f"mn@{new} serves\n"
    run("rollback", store, "mn")
    with pytest.raises(BadRequest, match="no version before"):
        run("rollback", store, "mn")


def test_a_module_is_removed(store):
    old, new = publish(store), publish(store, value=2)
    assert run("remove", store, "mn") == f"mn is gone: {new}, {old}\n"
    assert run("list", store) == ""
    with pytest.raises(UnknownModule, match="no module 'mn'"):
        run("remove", store, "mn")


def test_it_loads_no_model_library_and_reads_the_bentoml_home(tmp_path):
    with PLACES["bentoml"](tmp_path) as place:
        digest = publish(place)
    program = (
        "import sys\n"
        "from langmod.__main__ import app\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, "list", "bentoml://tiny"]
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"mn@{digest} ")


def test_faults_are_one_line(store, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["langmod", "rollback", store, "mn"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: no module 'mn'; known: none\n"


def test_every_command_of_the_project_is_there():
    for name in ("serve", "corpus", "base", "module", "export", "publish", "score", "study"):
        assert f"Usage: root {name} [OPTIONS]" in run(name, "--help")
    assert "many-modules" in run("bench", "--help")


def test_a_library_that_is_not_installed_is_named(capsys):
    def app():
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing.inner")

    with pytest.raises(SystemExit, match="1"):
        command_line.run(app)
    assert "error: nothing is not installed; run: pip install" in capsys.readouterr().err


def test_the_service_is_started_by_bentoml(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda path, command: started.append((path, command)))
    run("serve", "--port", "3001")
    ((path, command),) = started
    assert path == sys.executable
    assert " ".join(command[1:]) == (
        "-m bentoml serve service.service:Langmod --host 127.0.0.1 --port 3001"
    )
