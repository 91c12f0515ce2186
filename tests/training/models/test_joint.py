"""A base that goes on with objectives beside its text, at nano size."""

import json

import pytest
import torch
from transformers import AutoTokenizer

from adaptation.architectures import load_base
from langmod.errors import ConfigError
from tests.training.runs import QUICK, losses
from training.data.packing import MaskingCollator, Special
from training.models.base import start
from training.models.joint import (
    DICTIONARY_FILE,
    JointConfig,
    JointText,
    JointTrainer,
    joint_trainer,
    train_joint,
)
from training.models.joint_data import Drawn, JointCollator, JointRows, sentence_numbers

EVERYTHING = {
    "dictionary": {"least": 2},
    "translation": {"share": 0.5},
    "contrast": {"pairs": 2, "tokens": 24},
    "adversary": {"kind": "wasserstein", "bound": "penalty", "critic_steps": 2, "strength": 0.1},
}


def config(folder, base, corpus, **changes):
    values = {
        "name": "joint",
        "start_from": str(base),
        "corpus": corpus,
        "languages": ["eng", "khk"],
        "out": folder / "out",
        "run_folder": folder / "run",
        "block_tokens": 48,
        "optimisation": QUICK | {"steps": 6, "save_every": 3},
    }
    return JointConfig.model_validate(values | changes)


def test_a_run_with_every_objective_goes_on_to_the_same_losses(
    base, small_corpus, tmp_path, monkeypatch
):
    train_joint(config(tmp_path / "a", base, small_corpus, **EVERYTHING))
    expected = losses(tmp_path / "a" / "run")
    assert len(set(expected)) == 6
    again = config(tmp_path / "b", base, small_corpus, **EVERYTHING)
    whole = JointTrainer.compute_loss

    def cut(self, *given, **named):
        if self.state.global_step == 4:
            raise RuntimeError("pulled the plug")
        return whole(self, *given, **named)

    monkeypatch.setattr(JointTrainer, "compute_loss", cut)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train_joint(again)
    monkeypatch.undo()
    train_joint(again)
    assert losses(again.run_folder) == pytest.approx(expected, abs=1e-5)
    states = [load_base(tmp_path / each / "out").model.state_dict() for each in "ab"]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name])
    said = json.loads((again.run_folder / DICTIONARY_FILE).read_text())
    assert said.keys() == {"mn"}


def test_objectives_change_what_is_learnt_and_are_logged(base, small_corpus, tmp_path):
    one = {name: config(tmp_path / name, base, small_corpus,
                        optimisation=QUICK | {"steps": 3}, **changes)
           for name, changes in {"alone": {}, **{name: {name: each}
           for name, each in EVERYTHING.items()}}.items()}  # fmt: skip
    weights = {}
    for name, each in one.items():
        train_joint(each)
        model = load_base(each.out).model
        weights[name] = model.get_parameter("roberta.encoder.layer.0.output.dense.weight")
    for name in EVERYTHING:
        assert not torch.allclose(weights[name], weights["alone"], atol=1e-6), name
    state = sorted((tmp_path / "contrast" / "run").glob("checkpoint-*"))[-1]
    logged = json.loads((state / "trainer_state.json").read_text())["log_history"][0]
    assert {"mlm", "contrast", "anchor", "loss"} <= logged.keys()
    assert logged["loss"] == pytest.approx(
        logged["mlm"] + logged["contrast"] + logged["anchor"], abs=2e-3
    )


def test_rows_hold_their_language_share_and_pairs(base, small_corpus, tmp_path):
    settings = config(tmp_path, base, small_corpus, **EVERYTHING)
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = JointText(settings, tokenizer)
    rows = JointRows(text.blocks, 24, (0.5, 20.0), text.drawn(), 1)
    languages = [rows[index]["language"] for index in range(len(rows))]
    assert len(rows) == 24
    assert languages.count(-1) == 12
    english, mongolian = text.blocks["en"], text.blocks["mn"]
    for index, language in enumerate(languages):
        block = rows[index]["input_ids"]
        homes = {0: english, 1: mongolian, -1: text.drawn().translations}
        assert any((block == each).all() for each in homes[language])
        assert len(rows[index]["pairs"]) == 2
    same = JointRows(text.blocks, 24, (0.5, 20.0), text.drawn(), 1)
    assert [row["language"] for row in map(same.__getitem__, range(24))] == languages
    other = JointRows(text.blocks, 24, (0.5, 20.0), Drawn(), 2)
    assert -1 not in [row["language"] for row in map(other.__getitem__, range(24))]
    special = Special.of(tokenizer)
    masking = MaskingCollator(special, len(tokenizer), 0.15, 1)
    batch = JointCollator(masking, special, 10)([rows[0], rows[1]])
    assert batch["left_ids"].shape[0] == batch["right_ids"].shape[0] == 4
    assert batch["left_ids"].shape[1] <= 10
    assert (batch["left_ids"][:, 0] == special.start).all()
    assert batch["sentences"].shape == batch["input_ids"].shape


def test_sentences_are_numbered_between_their_ends():
    special = Special(0, 2, 1, 9)
    ids = torch.tensor([[0, 5, 6, 2, 7, 2, 1]])
    assert sentence_numbers(ids, special).tolist() == [[-1, 0, 0, -1, 1, -1, -1]]


def test_processes_find_the_gradient_of_every_part(base, small_corpus, tmp_path):
    """One process of a group: DDP looks for parameters in what the forward gives."""
    settings = config(
        tmp_path, base, small_corpus, **EVERYTHING | {"adversary": {"kind": "reversal"}}
    )
    architecture, tokenizer = start(settings)
    trainer = joint_trainer(settings, architecture, tokenizer)
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(4)])
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel(
            trainer.joint, find_unused_parameters=True
        )
        trainer.compute_loss(parallel, batch).backward()
    finally:
        torch.distributed.destroy_process_group()
    for name, parameter in trainer.joint.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or "key.bias" in name, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start_from": None}, "`start_from` must be an encoder base"),
        ({"languages": ["eng"]}, "languages beside the pivot en"),
        ({"contrast": {}, "middle": 9}, "middle is 9"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes, words, base, small_corpus, tmp_path):
    with pytest.raises(ConfigError, match=words):
        train_joint(config(tmp_path, base, small_corpus, **changes))
