"""Publishing: runs of ours, folders of PEFT and AdapterHub, and everything that must be refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adaptation.architectures import load_base
from adaptation.bases import load_spec
from adaptation.methods import METHODS
from export import module as module_stage
from export.module import ModuleDescription, export_module
from export.parity import ParityError
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import FP32_TOLERANCE, ROLES, RUN_FILE
from langmod.store import ModuleStore
from tests.adaptation.models import module_for


def make_run(folder, base_folder, method, /, config=(), **fields):
    """What `training module` leaves behind, with random tensors."""
    base = load_base(base_folder)
    folder.mkdir()
    settings = METHODS[method].Config(**dict(config))
    tensors = module_for(base, METHODS[method], settings, 3)
    METHODS[method].write(folder / folder.name, settings, tensors, base)
    run = {
        "name": folder.name,
        "role": "language",
        "method": method,
        "train": "module",
        "base_digest": load_spec(base_folder).digest,
        "base": base_folder.name,
        "languages": ["mn"],
        "data": "d" * 64,
        "licence": "CC-BY-SA-4.0",
        "steps": 1,
        "trained_parameters": 1,
        "final_loss": 1.0,
    }
    (folder / RUN_FILE).write_text(json.dumps(run | fields))
    return tensors


@pytest.mark.parametrize(
    ("kind", "method"),
    [(k, m) for k in ("encoder", "translator") for m in METHODS
     if METHODS[m].unfit(k, "language") is None],
)  # fmt: skip
def test_a_run_is_published_as_it_was_trained(models_folder, tmp_path, kind, method):
    base = models_folder / f"tiny-{kind}"
    direction = {"source": "mn", "target": "en"} if kind == "translator" else {}
    tensors = make_run(tmp_path / f"run-{kind}-{method}", base, method, **direction)
    done = export_module(tmp_path / f"run-{kind}-{method}", base)
    assert 0 < done.max_difference <= FP32_TOLERANCE
    module = ModuleStore(base / "modules").load(done.name)
    assert module.digest == done.digest
    assert module.manifest.base_digest == load_spec(base).digest
    assert module.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(
            torch.from_numpy(module.tensors[name]), tensor.float(), atol=1e-6, rtol=0
        )
    ModuleStore(base / "modules").remove(done.name)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", [name for name in METHODS if name.endswith("bottleneck")])
def test_invertible_adapters_are_checked_on_both_sides_of_the_layers(
    tiny_encoder, tmp_path, monkeypatch, method, role
):
    config = {"inv_adapter": "nice"}
    task = {"task": "topic", "kind": "classify", "labels": ["a", "b"]} if role == "task" else {}
    tensors = make_run(tmp_path / "inv", tiny_encoder, method, config=config, role=role, **task)
    differing, check = {}, module_stage.run

    def spy(session, feed):
        found = check(session, feed)
        bare = check(session, feed | {"slots": torch.zeros_like(feed["slots"])})
        for name in ("hidden", "scores"):
            if name in found:
                differing[name] = np.abs(found[name] - bare[name]).max()
        return found

    monkeypatch.setattr(module_stage, "run", spy)
    done = export_module(tmp_path / "inv", tiny_encoder)
    assert 0 < done.max_difference <= FP32_TOLERANCE
    assert all(differing[name] > 5 * FP32_TOLERANCE for name in ("hidden", "scores")), differing
    module = ModuleStore(tiny_encoder / "modules").load("inv")
    assert module.tensors.keys() == tensors.keys()
    assert module.manifest.config["inv_adapter"] == "nice"
    ModuleStore(tiny_encoder / "modules").remove("inv")


def test_the_same_run_gives_the_same_digest_in_any_store(tiny_encoder, tmp_path):
    make_run(tmp_path / "twice", tiny_encoder, "lora")
    store = f"{tmp_path}/{{base}}/elsewhere"
    first = export_module(tmp_path / "twice", tiny_encoder)
    second = export_module(tmp_path / "twice", tiny_encoder, store=store)
    assert first.digest == second.digest
    elsewhere = ModuleStore(store.format(base=tiny_encoder.name))
    assert elsewhere.load("twice").digest == second.digest
    ModuleStore(tiny_encoder / "modules").remove("twice")


def test_a_task_run_brings_its_head(tiny_encoder, tmp_path):
    width = load_spec(tiny_encoder).width
    labels = ("O", "B-LOC", "I-LOC")
    fields = {"role": "task", "task": "ner", "kind": "tag", "labels": labels}
    make_run(tmp_path / "places", tiny_encoder, "bottleneck", **fields)
    head = {"tag.out_weight": torch.randn(width, 3), "tag.out_bias": torch.randn(3)}
    save_file(head, tmp_path / "places" / "head.safetensors")
    done = export_module(tmp_path / "places", tiny_encoder, priority=2)
    module = ModuleStore(tiny_encoder / "modules").load("places")
    assert module.manifest.labels == labels
    assert module.manifest.priority == 2
    assert set(head) <= set(module.tensors)
    assert done.max_difference <= FP32_TOLERANCE
    ModuleStore(tiny_encoder / "modules").remove("places")


def test_a_folder_of_peft_needs_only_a_name_and_language(tiny_encoder, tmp_path):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    theirs = get_peft_model(
        load_base(tiny_encoder).model, LoraConfig(r=3, lora_alpha=6, target_modules=["query"])
    )
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.raises(ConfigError, match=r"say --name and --language"):
        export_module(tmp_path / "theirs", tiny_encoder)
    described = ModuleDescription(name="from-peft", languages=("kor",))
    export_module(tmp_path / "theirs", tiny_encoder, described)
    module = ModuleStore(tiny_encoder / "modules").load("from-peft")
    assert module.manifest.languages == ("ko",)
    assert module.tensors["lora.encoder.attention.self.query.b"].shape[1] == 3
    ModuleStore(tiny_encoder / "modules").remove("from-peft")


def test_every_fault_of_a_foreign_checkpoint_is_listed(tiny_encoder, tmp_path):
    make_run(tmp_path / "odd", tiny_encoder, "lora")
    inner = tmp_path / "odd" / "odd"
    path = inner / "adapter_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"init_lora_weights": "pissa", "bias": "all"})
    )
    with pytest.raises(ModuleMismatch, match=r"weights is 'pissa'.*bias is 'all': the biases"):
        export_module(tmp_path / "odd", tiny_encoder)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"base_digest": "f" * 64}, ModuleMismatch, "trained on"),
        ({"train": "base"}, ConfigError, "is a baseline"),
        ({"method": "magic"}, BrokenModule, "no run of ours"),
    ],
)
def test_runs_that_cannot_be_published(tiny_encoder, tmp_path, change, error, words):
    make_run(tmp_path / "bad", tiny_encoder, "lora", **change)
    with pytest.raises(error, match=words):
        export_module(tmp_path / "bad", tiny_encoder)
    assert "bad" not in ModuleStore(tiny_encoder / "modules").names()


def test_nothing_is_published_when_the_graphs_disagree(tiny_encoder, tmp_path, monkeypatch):
    make_run(tmp_path / "off", tiny_encoder, "lora")
    run = module_stage.run

    def on_other_weights(session, feed):
        moved = {k: v * 1.05 if k.endswith("query.b") else v for k, v in feed.items()}
        return run(session, moved)

    monkeypatch.setattr(module_stage, "run", on_other_weights)
    with pytest.raises(ParityError, match=r"differ from torch by"):
        export_module(tmp_path / "off", tiny_encoder)
    assert "off" not in ModuleStore(tiny_encoder / "modules").names()
