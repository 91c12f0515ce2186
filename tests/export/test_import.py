"""Importing what PEFT and `adapters` saved: heads, labels, hub ids, and every fault at once."""

import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from export import checkpoint as checkpoint_stage
from export.checkpoint import ModuleDescription, resolve_checkpoint
from export.heads import read_head
from export.module import examine, export_module
from langmod.__main__ import main
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import FP32_TOLERANCE
from langmod.store import ModuleStore
from tests.foreign import ENTITIES, LABELS, TOPICS, foreign, without_module

NAMED = [name for name, each in foreign().items() if each.names_labels]


@pytest.fixture(scope="module")
def saved(tiny_encoder, tmp_path_factory):
    """Every foreign checkpoint in a folder of its name."""
    place = tmp_path_factory.mktemp("saved")
    for seed, (name, each) in enumerate(foreign().items()):
        each.save(tiny_encoder, place / name, seed)
    return place


@pytest.fixture
def one(saved, tmp_path):
    """Copies one of them, to be changed."""
    import shutil

    def copied(name):
        return shutil.copytree(saved / name, tmp_path / name)

    return copied


def described(name, **fields):
    given = {} if name in NAMED else {"labels": LABELS[foreign()[name].kind]}
    return ModuleDescription(**{"name": name, "task": "own", "languages": ("mn",)} | given | fields)


def rewrite(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def rewrite_head(folder, **changes):
    path = folder / "head_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"config": content["config"] | changes}))


def faults_of(folder, base, **fields):
    about = {"name": "x", "task": "own", "languages": ("mn",), **fields}
    return examine(folder, base, ModuleDescription(**about)).faults.listed()


@pytest.mark.parametrize("name", foreign())
def test_a_head_comes_with_its_module(name, saved, tiny_encoder):
    each = foreign()[name]
    done = export_module(saved / name, tiny_encoder, described(name))
    assert done.max_difference <= FP32_TOLERANCE
    store = ModuleStore(tiny_encoder / "modules")
    module = store.load(name)
    store.remove(name)
    manifest = module.manifest
    assert (manifest.role, manifest.method, manifest.kind) == ("task", each.method, each.kind)
    assert manifest.labels == LABELS[each.kind]
    assert manifest.pooling == "first"
    assert module.tensors[f"{each.kind}.out_bias"].shape == (len(manifest.labels),)


def test_labels_of_the_command_replace_the_checkpoints(saved, tiny_encoder):
    found = examine(
        saved / "hub-topic", tiny_encoder, described("hub-topic", labels=("a", "b", "c"))
    )
    assert found.manifest.labels == ("a", "b", "c")
    assert not found.faults


def test_a_head_may_be_left_aside(saved, tiny_encoder):
    about = ModuleDescription(name="bare", languages=("mn",), head=False)
    found = examine(saved / "hub-topic", tiny_encoder, about)
    assert not found.faults
    assert found.manifest.role == "language"
    assert not any(name.startswith("classify") for name in found.checkpoint.tensors)


def test_a_dry_run_lists_every_fault_of_every_stage(one, tiny_encoder):
    folder = one("hub-topic")
    rewrite(folder / "adapter_config.json", hidden_size=768)
    content = json.loads((folder / "adapter_config.json").read_text())["config"]
    rewrite(
        folder / "adapter_config.json", config=content | {"ln_after": True, "scaling": "learned"}
    )
    rewrite_head(folder, use_pooler=True, layers=3)
    about = ModuleDescription(languages=("not a tag",), role="task")
    found = examine(folder, tiny_encoder, about, store="nowhere://modules")
    listed = found.faults.listed()
    for words in (
        "nowhere",
        "made for hidden_size 768, the base has 32",
        "ln_after is True, bottleneck has False",
        "scaling is 'learned', no number",
        "head: layers is 3; allowed: 1 or 2",
        "head: use_pooler is True",
        "say --name and --task",
        "'not a tag' is not a language tag",
    ):
        assert sum(words in each for each in listed) == 1, (words, listed)
    assert len(listed) == 8
    with pytest.raises(ModuleMismatch, match=r"ln_after.*use_pooler.*--name"):
        found.faults.refuse(found.name)


def test_a_task_module_needs_a_head(saved, tiny_encoder):
    listed = faults_of(saved / "hub-topic", tiny_encoder, head=False)
    assert listed == ["a task module needs a head, and here is none"]


def test_tensors_of_another_form_are_listed_one_by_one(one, tiny_encoder):
    folder = one("hub-topic")
    tensors = load_file(folder / "adapter.safetensors")
    first, second, *_ = (key for key in tensors if key.endswith("adapter_down.0.weight"))
    tensors[first] = torch.zeros(3, 32)
    tensors["odd"] = tensors.pop(second)
    save_file(tensors, folder / "adapter.safetensors")
    head = load_file(folder / "model_head.safetensors")
    head["heads.own.1.weight"] = torch.zeros(16, 32)
    head["heads.own.7.bias"] = torch.zeros(3)
    del head["heads.own.4.weight"]
    save_file(head, folder / "model_head.safetensors")
    listed = faults_of(folder, tiny_encoder)
    for words in (
        "odd: is no place of bottleneck",
        "adapter_down.0.weight: has shape [3, 32], allowed [8, 32]",
        "adapter_down.0.weight: the settings ask for it and it is missing",
        "head: heads.own.1.weight has shape [16, 32], allowed [32, 32]",
        "head: heads.own.4.weight is missing",
        "head: heads.own.7.bias: is unknown",
    ):
        assert sum(words in each for each in listed) == 1, (words, listed)


HEADS = [
    ("hub-topic", {"head_type": "multilabel_classification"}, "head_type is 'multilabel"),
    ("hub-topic", {"activation_function": "relu"}, "activation_function is 'relu'"),
    ("hub-topic", {"use_pooler": True}, "have no pooler"),
    ("hub-ner", {"layers": 2, "activation_function": "tanh"}, "layers is 2; allowed: 1"),
]


@pytest.mark.parametrize(("name", "change", "words"), HEADS)
def test_heads_of_other_functions_are_refused(one, tiny_encoder, name, change, words):
    folder = one(name)
    rewrite_head(folder, **change)
    (fault,) = [each for each in faults_of(folder, tiny_encoder) if each.startswith("head: ")]
    assert words in fault


def test_peft_heads_must_say_what_they_are(one, tiny_encoder):
    folder = one("peft-topic")
    (unnamed,) = faults_of(folder, tiny_encoder)[:1]
    assert unnamed == "the head has 3 labels, none has a name: say --labels"
    assert "2 have names" in faults_of(folder, tiny_encoder, labels=("a", "b"))[0]
    rewrite(folder / "adapter_config.json", task_type=None, modules_to_save=["pooler"])
    listed = faults_of(folder, tiny_encoder, labels=TOPICS)
    assert any("task_type is None; allowed: SEQ_CLS, TOKEN_CLS" in each for each in listed)
    assert any("modules_to_save is ['pooler']" in each for each in listed)


def test_labels_of_spans_have_their_form(saved, tiny_encoder):
    labels = ("O", "LOC", "PER", "B-X", "I-X")
    listed = faults_of(saved / "hub-ner", tiny_encoder, labels=labels)
    assert listed == ["labels 'LOC', 'PER': allowed are O, B-… and I-…"]
    assert len(labels) == len(ENTITIES)


def test_a_language_module_has_no_head(saved, tiny_encoder):
    listed = faults_of(saved / "hub-topic", tiny_encoder, role="language", task=None)
    assert listed[0] == "a language module has no head: say --role task, or --no-head"


def test_a_pooler_below_a_head_is_refused(tiny_encoder, tmp_path):
    """BERT's own classifier reads one, and bases of masked language models have none."""
    import adapters
    from transformers import BertForSequenceClassification

    from tests.adaptation.models import bert

    base = bert()
    model = BertForSequenceClassification(base.model.config)
    adapters.init(model)
    model.add_adapter("own", config="seq_bn")
    model.save_adapter(str(tmp_path / "own"), "own", with_head=True, use_safetensors=True)
    with pytest.raises(ModuleMismatch, match="head: it reads the pooler of the base"):
        read_head(tmp_path / "own", base)


@pytest.mark.parametrize("learned", [False, True])
def test_a_head_for_words_is_left_aside_while_it_is_the_bases_own(tiny_encoder, tmp_path, learned):
    import adapters
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(tiny_encoder, dtype=torch.float32)
    adapters.init(model)
    model.add_adapter("mn", config="seq_bn")
    model.lm_head.dense.weight.data += learned
    model.save_adapter(str(tmp_path / "mn"), "mn", with_head=True)
    about = ModuleDescription(name="mn", languages=("mn",))
    found = examine(tmp_path / "mn", tiny_encoder, about)
    assert found.faults.listed() == (
        [
            "head: it is a head for words other than the base's, which alone is served; "
            "--no-head leaves it aside, for the base's own answers"
        ]
        if learned
        else []
    )
    assert (tmp_path / "mn" / "pytorch_model_head.bin").is_file()


class Harmful:
    """What a forged pickle would do."""

    def __reduce__(self):
        return print, ("a pickle ran code",)


@pytest.mark.parametrize("file", ["pytorch_adapter.bin", "pytorch_model_head.bin"])
def test_pickles_are_tensors_and_never_code(one, tiny_encoder, file, capsys):
    folder = one("hub-flat")
    (folder / file).write_bytes(pickle.dumps({"x": Harmful()}))
    with pytest.raises(BrokenModule, match="more than tensors"):
        export_module(folder, tiny_encoder, described("hub-flat"))
    torch.save({"x": Harmful()}, folder / file)
    with pytest.raises(BrokenModule, match="more than tensors"):
        export_module(folder, tiny_encoder, described("hub-flat"))
    assert "ran code" not in capsys.readouterr().out


def test_the_linear_head_passes_through_tanh_unchanged(saved, tiny_encoder):
    """`hub-flat` has one layer, ours two: small numbers make tanh the identity."""
    from adaptation.architectures import load_base
    from langmod.tasks import TASKS

    head = read_head(saved / "hub-flat", load_base(tiny_encoder))
    state = torch.load(saved / "hub-flat" / "pytorch_model_head.bin", weights_only=True)
    hidden = torch.randn(4, 1, 32) * 20
    tensors = {
        name.partition(".")[2]: each.expand(4, *each.shape) for name, each in head.tensors.items()
    }
    ours = TASKS["classify"].head(hidden, torch.ones(4, 1), tensors)
    weight, bias = state["heads.own.1.weight"], state["heads.own.1.bias"]
    theirs = hidden[:, 0] @ weight.T + bias
    assert theirs.abs().max() > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-5)


def test_hub_ids_are_fetched_without_what_is_not_read(saved, monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot_download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(saved / "hub-topic")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve_checkpoint("AdapterHub/some-adapter") == saved / "hub-topic"
    assert resolve_checkpoint(str(saved / "hub-ner")) == saved / "hub-ner"
    (patterns,) = asked.values()
    assert set(patterns) == set(checkpoint_stage.FILES)
    assert "*.bin" not in patterns

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ConfigError, match="neither a folder nor a reachable hub id: no network"):
        resolve_checkpoint("AdapterHub/none")


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["langmod", "publish", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_command_checks_all_and_publishes_nothing(
    saved, one, tiny_encoder, monkeypatch, capsys
):
    about = ("--name", "own-topic", "--task", "topic", "--language", "mn")
    wanted = (tiny_encoder, "--from", saved / "peft-topic", *about)
    assert command(monkeypatch, *wanted, "--dry-run", "--labels", ",".join(TOPICS)) == 0
    out = capsys.readouterr().out
    assert "fits tiny-encoder; nothing was published" in out
    assert "own-topic: lora, role task, serves topic" in out
    assert command(monkeypatch, *wanted, "--dry-run") == 1
    bad = one("hub-ner")
    rewrite_head(bad, layers=4)
    several = (*wanted, "--from", bad, "--dry-run")
    assert command(monkeypatch, *several) == 1
    out = capsys.readouterr().out
    assert "none has a name: say --labels" in out
    assert "layers is 4; allowed: 1" in out
    assert command(monkeypatch, *wanted) == 1
    assert "say --labels" in capsys.readouterr().err
    assert ModuleStore(tiny_encoder / "modules").names() == []
    assert command(monkeypatch, *wanted, "--labels", ",".join(TOPICS)) == 0
    assert ModuleStore(tiny_encoder / "modules").load("own-topic").manifest.labels == TOPICS
    ModuleStore(tiny_encoder / "modules").remove("own-topic")


def test_the_libraries_models_are_not_their_bases(saved, tiny_encoder, tmp_path):
    """Without this a head on an idle module would pass for the whole."""
    model = foreign()["hub-topic"].save(tiny_encoder, tmp_path / "again", 0)
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        there, bare = (each(ids).logits for each in (model, without_module(model)))
    assert (there - bare).abs().max() > 0.1


@pytest.mark.parametrize("learned", [False, True])
def test_a_flexible_head_for_words_is_the_bases_own_or_names_the_way_out(
    tiny_encoder, tmp_path, learned
):
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(tiny_encoder, dtype=torch.float32)
    model.heads["default"][-1].bias.data.copy_(
        AutoModelForMaskedLM.from_pretrained(tiny_encoder, dtype=torch.float32).lm_head.bias
    )
    model.add_adapter("mn", config="seq_bn")
    model.add_masked_lm_head("mn")
    if not learned:
        model.heads["mn"].load_state_dict(model.heads["default"].state_dict())
    model.save_adapter(str(tmp_path / "mn"), "mn", with_head=True)
    about = ModuleDescription(name="mn", languages=("mn",))
    listed = examine(tmp_path / "mn", tiny_encoder, about).faults.listed()
    if not learned:
        assert listed == []
        return
    (fault,) = listed
    assert fault.startswith("head: head_type is 'masked_lm'; allowed: classification, tagging; ")
    assert "--no-head leaves it aside" in fault
    aside = about.model_copy(update={"head": False})
    assert not examine(tmp_path / "mn", tiny_encoder, aside).faults


def test_a_head_that_the_settings_name_and_nobody_saved_is_missed(one, tiny_encoder):
    folder = one("peft-topic")
    state = load_file(folder / "adapter_model.safetensors")
    kept = {key: each for key, each in state.items() if "classifier" not in key}
    save_file(kept, folder / "adapter_model.safetensors")
    listed = faults_of(folder, tiny_encoder, task=None)
    assert listed == [
        "head: modules_to_save names classifier, score, and no tensor of it is here; "
        "--no-head leaves it aside, for the base's own answers"
    ]
    assert not faults_of(folder, tiny_encoder, task=None, head=False)


@pytest.mark.parametrize(
    "kind", ["LOHA", "LOKR", "ADALORA", "VERA", "OFT", "LN_TUNING", "XLORA", "NEWER"]
)
def test_methods_of_peft_that_are_not_served_are_named(one, tiny_encoder, kind):
    folder = one("peft-topic")
    rewrite(folder / "adapter_config.json", peft_type=kind)
    listed = faults_of(folder, tiny_encoder, head=False, task=None)
    allowed = "BEFT, IA3, LORA, PROMPT_TUNING"
    assert listed == [f"peft_type is {kind!r}; allowed: {allowed}"]
