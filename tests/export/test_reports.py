"""What public reports say went wrong with other people's checkpoints; docs/reports-tried.md."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
)

from adaptation.bases import describe_base
from export.module import ModuleDescription, examine
from langmod.errors import ConfigError

TENSORS = "adapter_model.safetensors"


def lora(**changes):
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["query", "value"]}
    return LoraConfig(**settings | changes)


def masked(base):
    return AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)


@pytest.fixture
def theirs(tiny_encoder, tmp_path):
    """A plain LoRA as PEFT saves it, to be changed."""
    get_peft_model(masked(tiny_encoder), lora()).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def faults_of(folder, base, **fields):
    about = {"name": "x", "languages": ("mn",), **fields}
    return examine(folder, base, ModuleDescription(**about)).faults.listed()


def change(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_tensors_that_were_left_on_other_devices_are_refused(theirs, tiny_encoder):
    """ZeRO-3 saves what is gathered elsewhere as nothing."""
    state = load_file(theirs / TENSORS)
    save_file({key: torch.zeros(0) for key in state}, theirs / TENSORS)
    assert all("has shape [0], allowed" in each for each in faults_of(theirs, tiny_encoder))
    save_file({}, theirs / TENSORS)
    (fault,) = faults_of(theirs, tiny_encoder)
    assert fault.endswith("the settings ask for it and it is missing")


def test_a_base_of_another_name_is_said_and_not_refused(theirs, tiny_encoder):
    about = ModuleDescription(name="x", languages=("mn",))
    assert examine(theirs, tiny_encoder, about).warning == ""
    change(theirs, base_model_name_or_path="somebody/xlm-r-of-news")
    said = "it says it was trained on 'somebody/xlm-r-of-news', and nothing tells that tiny-encoder"
    found = examine(theirs, tiny_encoder, about)
    assert found.warning.startswith(said)
    assert found.report()[-1] == f"- {found.warning}"


def test_word_vectors_that_grew_are_refused(tiny_encoder, tmp_path):
    model = masked(tiny_encoder)
    model.resize_token_embeddings(model.config.vocab_size + 4)
    grown = get_peft_model(model, lora())
    grown.save_pretrained(tmp_path / "grown", save_embedding_layers=True)
    (fault,) = faults_of(tmp_path / "grown", tiny_encoder)
    assert "embeddings.word_embeddings.weight" in fault
    assert fault.endswith("is no linear in a layer of this base")


def test_tokens_that_the_base_has_not_are_refused(theirs, tiny_encoder):
    tokenizer = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    tokenizer.save(str(theirs / "tokenizer.json"))
    assert faults_of(theirs, tiny_encoder) == []
    size = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<TOK1>", "</TOK1>"])
    tokenizer.save(str(theirs / "tokenizer.json"))
    assert faults_of(theirs, tiny_encoder) == [
        f"its tokenizer.json has 2 tokens, '<TOK1>' ({size}), '</TOK1>' ({size + 1}), that the "
        "base's has not; remove the file if no text it was trained on had any"
    ]
    (theirs / "tokenizer.json").write_text("{")
    (fault,) = faults_of(theirs, tiny_encoder)
    assert fault.startswith("theirs/tokenizer.json cannot be read: ")


def test_a_vocabulary_that_learned_is_refused(tiny_encoder, tmp_path):
    model = get_peft_model(masked(tiny_encoder), lora(modules_to_save=["lm_head"]))
    model.save_pretrained(tmp_path / "theirs")
    beside, tensors = faults_of(tmp_path / "theirs", tiny_encoder)
    assert beside == "modules_to_save is ['lm_head']; allowed: classifier, score"
    assert "lm_head.dense.weight" in tensors


@pytest.mark.parametrize("targets", ["all-linear", ["query", "out_proj"]])
def test_a_head_under_lora_is_refused(targets, tiny_encoder, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=3)
    get_peft_model(model.float(), lora(target_modules=targets)).save_pretrained(tmp_path / "theirs")
    faults = faults_of(tmp_path / "theirs", tiny_encoder, task="topic")
    assert any(each.startswith("head: task_type is None") for each in faults)
    change(tmp_path / "theirs", task_type="SEQ_CLS")
    faults = faults_of(tmp_path / "theirs", tiny_encoder, task="topic")
    (unknown,) = [each for each in faults if each.endswith(": is unknown")]
    assert "classifier.out_proj.lora_A.weight" in unknown


def test_a_head_of_choices_is_refused(tiny_encoder, tmp_path):
    model = AutoModelForMultipleChoice.from_pretrained(tiny_encoder, dtype=torch.float32)
    config = lora(task_type="SEQ_CLS")
    get_peft_model(model, config).save_pretrained(tmp_path / "theirs")
    faults = faults_of(tmp_path / "theirs", tiny_encoder, task="topic", labels=("a", "b"))
    assert any("it reads the pooler of the base" in each for each in faults)


@pytest.mark.parametrize("name", ["prefix", "encoder"])
def test_prompts_of_other_kinds_are_refused_by_name(name, tiny_encoder, tmp_path):
    kinds = {"prefix": PrefixTuningConfig, "encoder": PromptEncoderConfig}
    config = kinds[name](task_type="SEQ_CLS", num_virtual_tokens=4)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=3)
    get_peft_model(model.float(), config).save_pretrained(tmp_path / "theirs")
    listed = faults_of(tmp_path / "theirs", tiny_encoder, head=False)
    assert listed == [f"peft_type is {config.peft_type.value}; allowed: PROMPT_TUNING"]


def test_an_adapter_that_is_called_lora_is_whole_or_refused(tiny_encoder, tmp_path):
    """PEFT before 0.18 wrote names that it could not read again; some such files are about."""
    model = get_peft_model(masked(tiny_encoder), lora(), adapter_name="lora_one")
    model.save_pretrained(tmp_path)
    folder = tmp_path / "lora_one"
    assert faults_of(folder, tiny_encoder) == []
    state = load_file(folder / TENSORS)
    odd = {key.replace("lora_A.", "lora_A.lora_one."): each for key, each in state.items()}
    save_file(odd, folder / TENSORS)
    lacking, surplus = faults_of(folder, tiny_encoder)
    assert lacking.startswith("4 tensors, ")
    assert "lora_A.lora_one.weight" in surplus


def test_settings_of_the_first_peft_are_none_when_they_are_not_set(theirs, tiny_encoder):
    change(theirs, enable_lora=None, merge_weights=False)
    assert faults_of(theirs, tiny_encoder) == []
    change(theirs, enable_lora=[True, False, True])
    (fault,) = faults_of(theirs, tiny_encoder)
    assert fault == "enable_lora is [True, False, True]: no setting that langmod knows"


@pytest.mark.parametrize("settings", [{"use_rslora": True}, {"rank_pattern": {"query": 6}}])
@pytest.mark.filterwarnings("ignore")
def test_pissa_with_other_ranks_and_factors_is_served_once_it_is_plain_lora(
    settings, tiny_encoder, tmp_path
):
    """The comparison with PEFT's own answers is the test: it refuses what differs."""
    model = get_peft_model(masked(tiny_encoder), lora(init_lora_weights="pissa", **settings))
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "first")
    model.peft_config["default"].init_lora_weights = "pissa"
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1
    model.save_pretrained(tmp_path / "pissa")
    (fault,) = faults_of(tmp_path / "pissa", tiny_encoder)
    assert fault.startswith("init_lora_weights is 'pissa': the base itself was changed")
    model.save_pretrained(
        tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "first")
    )
    assert faults_of(tmp_path / "plain", tiny_encoder) == []


def test_a_fusion_of_adapters_is_no_module(tiny_encoder, tmp_path):
    import adapters
    from adapters.composition import Fuse

    model = masked(tiny_encoder)
    adapters.init(model)
    for name in ("one", "two"):
        model.add_adapter(name, config="seq_bn")
    model.add_adapter_fusion(Fuse("one", "two"))
    model.save_adapter_fusion(str(tmp_path / "fusion"), "one,two")
    (fault,) = faults_of(tmp_path / "fusion", tiny_encoder)
    assert fault.endswith("is an AdapterFusion, which mixes adapters token by token; publish each")


TOKENIZERS = {
    "newer-model": ({"model": {"type": "Newer", "vocab": {}}}, "cannot be read by tokenizers"),
    "newer-part": ({"pre_tokenizer": {"type": "Newer"}}, "cannot be read by tokenizers"),
    "cut": (None, "cannot be read by tokenizers"),
}


@pytest.fixture
def base(tiny_encoder, tmp_path):
    """A copy of a base, without its graphs."""
    return shutil.copytree(tiny_encoder, tmp_path / "base", ignore=shutil.ignore_patterns("onnx"))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_of_another_version_is_named(name, base):
    changes, words = TOKENIZERS[name]
    path = base / "tokenizer.json"
    text = path.read_text()
    path.write_text(text[:500] if changes is None else json.dumps(json.loads(text) | changes))
    with pytest.raises(ConfigError, match=words):
        describe_base(base, "base", ["mn"], "unknown")


def test_a_base_without_a_tokenizer_is_named(base):
    (base / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer; allowed: one of tokenizer\.json"):
        describe_base(base, "base", ["mn"], "unknown")


def test_tokens_without_word_vectors_are_refused_before_they_are_asked_for(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["<new>"])
    tokenizer.save(str(base / "tokenizer.json"))
    with pytest.raises(ConfigError, match=rf"1 tokens without .* first '<new>' \({size}\)"):
        describe_base(base, "base", ["mn"], "unknown")


def test_every_test_that_the_page_of_reports_names_is_there():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "reports-tried.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if "`tests/" in line]
    assert len(rows) >= 15
    for row in rows:
        file = None
        for name in re.findall(r"`([\w/]+\.py::)?(test_\w+)`", row):
            file = name[0].removesuffix("::") or file
            assert f"def {name[1]}(" in (root / file).read_text(encoding="utf-8"), (row, name)
