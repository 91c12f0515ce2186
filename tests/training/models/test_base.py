"""Bases from a small corpus: both kinds learn, are described, carry a card, and go on."""

import json

import pytest

from adaptation.bases import load_spec
from langmod.errors import ConfigError
from tests.bases import make_tokenizer
from tests.training.runs import QUICK, base_config, losses
from training.data.corpus import read_text
from training.loop.checkpoints import NotFinite, last_whole_checkpoint
from training.models.base import train_base, training_text


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    for kind in ("encoder", "translator"):
        (folder / kind).mkdir()
        make_tokenizer(folder / kind, kind)
    return folder


@pytest.mark.parametrize("kind", ["encoder", "translator"])
def test_a_base_learns_and_says_what_it_is(small_corpus, tokenizers, tmp_path, kind):
    optimisation = QUICK | {"steps": 60, "save_every": 60, "batch_size": 8, "learning_rate": 1e-2}
    config = base_config(tmp_path, small_corpus, tokenizers / kind, kind, optimisation=optimisation)
    spec = train_base(config)
    curve = losses(config.run_folder)
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 - 0.2
    assert load_spec(config.out) == spec
    assert spec.max_tokens == 48
    assert set(spec.languages) >= {"mn", "en"}
    assert bool(spec.language_tokens) == (kind == "translator")
    for name in ("model.safetensors", "tokenizer.json", "curve.png", "README.md", "training.json"):
        assert (config.out / name).stat().st_size > 0
    assert json.loads((config.out / "config.json").read_text())["dtype"] == "float16"


def test_only_whole_checkpoints_count(tmp_path):
    for step, whole in ((4, True), (8, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    cut = tmp_path / "checkpoint-16"
    cut.mkdir()
    (cut / "trainer_state.json").write_text('{"log_history": [')
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-8"
    assert last_whole_checkpoint(tmp_path / "absent") is None


def test_a_loss_that_is_not_finite_stops_the_run(small_corpus, tokenizers, tmp_path):
    wild = QUICK | {"learning_rate": 1e30, "clip": 1e30, "warmup": 0.0}
    config = base_config(
        tmp_path, small_corpus, tokenizers / "encoder", "encoder", optimisation=wild
    )
    with pytest.raises(NotFinite, match=r"loss is nan at step \d+; lower learning_rate"):
        train_base(config)
    assert not (config.out / "base.json").exists()


def test_a_base_starts_from_another(small_corpus, tokenizers, tmp_path):
    first = base_config(tmp_path / "a", small_corpus, tokenizers / "encoder", "encoder")
    train_base(first)
    second = base_config(tmp_path / "b", small_corpus, None, "encoder", start_from=str(first.out))
    train_base(second)
    assert losses(second.run_folder)[0] < losses(first.run_folder)[0]
    assert load_spec(second.out).digest != load_spec(first.out).digest


def test_a_language_is_made_poor_by_the_same_sample_in_every_run(small_corpus, tmp_path):
    config = base_config(
        tmp_path, small_corpus, None, "encoder", max_sentences={"khk": 7, "kor": 10**6}
    )
    poor, whole = training_text(config, "khk"), training_text(config, "eng")
    assert len(poor) == len(set(poor)) == 7
    assert training_text(config, "khk") == poor
    assert set(poor) < set(read_text(small_corpus, "mn", "train"))
    assert whole == read_text(small_corpus, "en", "train")
    assert training_text(config, "kor") == read_text(small_corpus, "ko", "train")


def test_a_hub_id_that_cannot_be_reached_is_said(small_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = base_config(tmp_path, small_corpus, None, "encoder", start_from="nobody/nothing-here")
    with pytest.raises(ConfigError, match=r"neither a folder nor a reachable hub id"):
        train_base(config)
