"""The queue: what is done is passed by, what fails stops nobody, one works at a time."""

import pytest

from langmod.errors import ConfigError
from training.loop.queue import QueueConfig, QueuedRun, RunFailed, queue_status, run_queue


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "writes.py").write_text(
        "import pathlib, sys\nprint('at', sys.argv[1])\npathlib.Path(sys.argv[1]).touch()\n"
    )
    (tmp_path / "breaks.py").write_text("raise SystemExit('no corpus there')\n")

    def make(name, script="writes"):
        return QueuedRun(name=name, command=(script, name), done=name, about="for a test")

    return make


def test_runs_are_done_in_order_and_once(runs, tmp_path):
    config = QueueConfig(runs=(runs("one"), runs("two")))
    (tmp_path / "one").touch()
    said = run_queue(config)
    assert [line.split() for line in said.splitlines()] == [["one", "done"], ["two", "done"]]
    assert not config.log(config.runs[0]).exists()
    assert config.log(config.runs[1]).read_text() == "at two\n"


def test_a_run_that_fails_does_not_stop_the_others(runs, tmp_path):
    config = QueueConfig(runs=(runs("bad", "breaks"), runs("good")))
    with pytest.raises(RunFailed, match="bad: no corpus there"):
        run_queue(config)
    assert (tmp_path / "good").exists()
    assert queue_status(config).splitlines()[0] == "bad   interrupted: no corpus there"


def test_a_run_without_its_file_has_failed(runs, tmp_path):
    done = QueuedRun(name="empty", command=("writes", "elsewhere"), done="empty")
    with pytest.raises(RunFailed, match="empty"):
        run_queue(QueueConfig(runs=(done,)))


def test_a_name_stands_for_one_run(runs):
    with pytest.raises(ValueError, match="named twice: one"):
        QueueConfig(runs=(runs("one"), runs("two"), runs("one")))


def test_one_queue_works_at_a_time(runs):
    config = QueueConfig(runs=(runs("one"),))
    with config.lock(), pytest.raises(ConfigError, match="another queue"):
        run_queue(config)
    assert queue_status(config) == "one  left: for a test"
    with config.lock():
        config.log(config.runs[0]).write_text("first\nstep 5 of 9\n\n")
        assert queue_status(config) == "one  under way: step 5 of 9"
