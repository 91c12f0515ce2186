"""Runs that are killed, run out of disk or of numbers, and runs of two processes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from transformers import Trainer

from adaptation.bases import load_spec
from tests.bases import make_tokenizer
from tests.training.runs import QUICK, base_config, losses
from training.loop.checkpoints import NotFinite, NotSaved, last_whole_checkpoint
from training.loop.trainer import SparseTrainer
from training.models.base import train_base

STEPS = QUICK | {"steps": 40, "save_every": 8}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder, "encoder")
    return folder


@pytest.fixture
def config(small_corpus, tokenizer, tmp_path):
    """A run with dropout, whose random numbers must go on as well."""
    return base_config(
        tmp_path, small_corpus, tokenizer, "encoder", dropout=0.1, optimisation=STEPS
    )


def elsewhere(config, folder, **changes):
    paths = {"out": folder / "out", "run_folder": folder / "run"}
    return config.model_copy(update=paths | changes)


def process(config, *launcher):
    """The command line's own process of a run."""
    config.run_folder.mkdir(parents=True, exist_ok=True)
    yaml = config.run_folder.parent / "run.yaml"
    yaml.write_text(config.model_dump_json())
    command = [sys.executable, *(launcher or ("-m",)), "training", "base", str(yaml)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def slow_to_step(folder, step):
    """Waits until a run has a whole checkpoint at a step or later."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        last = last_whole_checkpoint(folder)
        if last is not None and int(last.name.rsplit("-", 1)[1]) >= step:
            return
        time.sleep(0.002)
    raise TimeoutError(f"no checkpoint of step {step} in {folder}")


def test_a_killed_run_goes_on_to_the_same_losses(config, tmp_path):
    # In a process of its own as well: other numbers of threads add up in other orders.
    said, _ = process(config).communicate()
    expected = losses(config.run_folder)
    assert len(expected) == 40, said
    assert len(set(expected)) > 30
    cut = elsewhere(config, tmp_path / "cut")
    running = process(cut)
    slow_to_step(cut.run_folder, 8)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    reached = int(last_whole_checkpoint(cut.run_folder).name.rsplit("-", 1)[1])
    assert 8 <= reached < 40
    assert not (cut.out / "base.json").exists()
    again = process(cut)
    said, _ = again.communicate()
    assert again.returncode == 0, said
    assert losses(cut.run_folder) == pytest.approx(expected, abs=2e-6)
    assert load_spec(cut.out).digest == load_spec(config.out).digest


def test_the_losses_depend_on_what_a_checkpoint_holds(config, tmp_path, monkeypatch):
    """Without the state of the random numbers a run would go on to other losses."""
    train_base(config)
    cut = elsewhere(config, tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(SparseTrainer, "compute_loss", killed_at(20))
        with pytest.raises(Kill):
            train_base(cut)
    (last_whole_checkpoint(cut.run_folder) / "rng_state.pth").unlink()
    train_base(cut)
    assert losses(cut.run_folder)[:16] == losses(config.run_folder)[:16]
    assert losses(cut.run_folder)[16:] != pytest.approx(losses(config.run_folder)[16:], abs=1e-5)


class Kill(BaseException):
    """What no code of ours catches."""


def killed_at(step):
    plain = SparseTrainer.compute_loss

    def compute_loss(self, *given, **named):
        if self.state.global_step == step:
            raise Kill
        return plain(self, *given, **named)

    return compute_loss


@contextmanager
def small_disk(size):
    """No file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("part", ["save_model", "_save_optimizer_and_scheduler", "_save_rng_state"])
def test_a_full_disk_stops_with_the_last_checkpoint_intact(part, config, tmp_path, monkeypatch):
    train_base(config)
    cut = elsewhere(config, tmp_path / "cut")
    plain = getattr(Trainer, part)

    def full(self, *given, **named):
        with small_disk(2000 if self.state.global_step == 24 else resource.RLIM_INFINITY):
            plain(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, part, full)
        with pytest.raises(
            NotSaved, match=r"could not write .*checkpoint-24: .+; make room and run"
        ):
            train_base(cut)
    assert [each.name for each in cut.run_folder.glob("checkpoint-*")] == ["checkpoint-16"]
    assert not cut.out.exists()
    train_base(cut)
    assert losses(cut.run_folder) == pytest.approx(losses(config.run_folder), abs=2e-6)


@pytest.mark.parametrize(
    ("size", "what"), [(40, "encoder-run"), (3000, "encoder-run"), (30_000, "other")]
)
def test_curves_and_weights_that_find_no_room_say_so(size, what, config, tmp_path):
    train_base(config)
    again = config.model_copy(update={"out": tmp_path / "other"})
    with (
        small_disk(size),
        pytest.raises(NotSaved, match=rf"could not write \S+/{what}: .+; make room"),
    ):
        train_base(again)
    assert not (tmp_path / "other" / "base.json").exists()
    train_base(again)
    assert load_spec(again.out).digest == load_spec(config.out).digest


def test_weights_that_are_not_finite_replace_no_checkpoint(config, monkeypatch):
    """A last step can spoil the weights before any loss shows it."""
    plain = SparseTrainer._save_checkpoint

    def spoilt(self, model, trial):
        if self.state.global_step == 16:
            next(model.parameters()).data.view(-1)[0] = torch.inf
        plain(self, model, trial)

    with monkeypatch.context() as patch:
        patch.setattr(SparseTrainer, "_save_checkpoint", spoilt)
        with pytest.raises(NotFinite, match=r"is no longer finite at step 16; lower learning_rate"):
            train_base(config)
    assert [each.name for each in config.run_folder.glob("checkpoint-*")] == ["checkpoint-8"]
    train_base(config)
    assert len(losses(config.run_folder)) == 40


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_keeps_the_checkpoint(bad, config, monkeypatch):
    plain = SparseTrainer.training_step

    def spoilt(self, model, inputs, *given):
        if self.state.global_step == 12:
            next(model.parameters()).data.fill_(bad)
        return plain(self, model, inputs, *given)

    with monkeypatch.context() as patch:
        patch.setattr(SparseTrainer, "training_step", spoilt)
        with pytest.raises(NotFinite, match=r"loss is (nan|inf) at step 12; lower learning_rate"):
            train_base(config)
    train_base(config)
    assert len(losses(config.run_folder)) == 40


def test_two_processes_train_one_base(config, tmp_path):
    """Each reads half of every step; a checkpoint is the run's, whoever wrote it."""
    short = config.model_copy(update={"dropout": 0.0, "optimisation": quick(steps=6, batch_size=4)})
    alone = elsewhere(short, tmp_path / "alone")
    train_base(alone)
    pair = elsewhere(short, tmp_path / "pair", optimisation=quick(steps=6, batch_size=2))
    # The launcher has no other name for several processes; without a GPU they meet over gloo.
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "-m")
    running = process(pair, *launcher)
    said, _ = running.communicate(timeout=240)
    assert running.returncode == 0, said
    assert load_spec(pair.out).name == load_spec(alone.out).name
    state = json.loads((pair.run_folder / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["global_step"] == 6
    assert (pair.run_folder / "checkpoint-6" / "rng_state_1.pth").is_file()
    # The same blocks and masks; a step's loss is the mean of two means in place of one mean.
    other = elsewhere(short, tmp_path / "other", optimisation=quick(steps=6, batch_size=4, seed=2))
    train_base(other)
    found, expected = losses(pair.run_folder), losses(alone.run_folder)
    assert found == pytest.approx(expected, abs=0.1)
    assert losses(other.run_folder) != pytest.approx(expected, abs=0.2)


def quick(**changes):
    from training.loop.trainer import Optimisation

    return Optimisation.model_validate(QUICK | {"save_every": 3} | changes)
