"""AdapterHub's checkpoints of every setting: answers as `adapters`' own, or a refusal by name."""

import dataclasses
import json

import adapters
import pytest
import torch
from adapters import (
    AdapterPlusConfig,
    AutoAdapterModel,
    BnConfig,
    CompacterConfig,
    DoubleSeqBnConfig,
    ParBnConfig,
    SeqBnConfig,
)
from adapters.configuration.adapter_config import AdapterConfig
from safetensors.torch import load_file, save_file

from adaptation import adapterhub
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.errors import ModuleMismatch
from tests.adaptation.models import bert, inputs_of, strong, xlmr
from tests.adaptation.test_methods import LIBRARY_TOLERANCE, logits, named

BASES = {"xlmr": xlmr, "bert": bert}
TENSORS = "adapter.safetensors"
GONE = "the settings ask for it and it is missing"


def classes(of=AdapterConfig):
    """Every class of settings that `adapters` has."""
    found = [each for each in of.__subclasses__() if dataclasses.is_dataclass(each)]
    return found + [inner for each in found for inner in classes(each)]


def in_adapters(base, place):
    """The base in the library's own class, which alone runs the inverse of a block."""
    base.model.save_pretrained(place)
    model = AutoAdapterModel.from_pretrained(place)
    model.heads["default"][-1].bias.data.copy_(base.model.get_output_embeddings().bias)
    return model.eval()


def saved(place, config, make=xlmr):
    """A checkpoint of random numbers."""
    model = in_adapters(strong(make), place.parent / "base")
    model.add_adapter("mn", config=config)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "adapters.mn." in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_adapter(str(place), "mn", use_safetensors=True)


def answers_of_adapters(place, make=xlmr):
    base = strong(make)
    model = in_adapters(base, place.parent / "base")
    model.load_adapter(str(place), use_safetensors=True)
    model.set_active_adapters("mn")
    with torch.no_grad():
        return model.eval()(**inputs_of(base)).logits


def method_of(place):
    (found,) = [each for each in METHODS.values() if each.recognises(place)]
    return found


def check_same(place, make=xlmr):
    base = strong(make)
    inputs = inputs_of(base)
    config, tensors = method_of(place).read(place, base)
    slotted = SlottedBase(base)
    ours = logits(slotted, FixedSource(named("language", tensors)), inputs)
    expected = answers_of_adapters(place, make)
    assert (logits(slotted, None, inputs) - expected).abs().max() > 1e-2, "it changes nothing"
    torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)
    return config


def change(place, top=(), **changes):
    path = place / "adapter_config.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | dict(top) | {"config": found["config"] | changes}))


def without(place, key):
    path = place / "adapter_config.json"
    found = json.loads(path.read_text())
    del found[key]
    path.write_text(json.dumps(found))


def rename(place, old, new):
    state = load_file(place / TENSORS)
    save_file({key.replace(old, new): each for key, each in state.items()}, place / TENSORS)


def refused(place, make=xlmr):
    with pytest.raises(ModuleMismatch) as error:
        method_of(place).read(place, strong(make))
    return error.value.details["faults"]


SAME = {
    "pfeiffer": SeqBnConfig(reduction_factor=4),
    "houlsby": DoubleSeqBnConfig(reduction_factor=4),
    "parallel": ParBnConfig(reduction_factor=4, scaling=2.5),
    "scaled": SeqBnConfig(reduction_factor=4, scaling=0.5),
    "leave-out": SeqBnConfig(reduction_factor=4, leave_out=[0]),
    "swish-in-capitals": SeqBnConfig(reduction_factor=4, non_linearity="Swish"),
    "invertible": SeqBnConfig(reduction_factor=4, inv_adapter="nice",
                              inv_adapter_reduction_factor=4),
    "idle": SeqBnConfig(reduction_factor=4, dropout=0.4, init_weights_seed=3,
                        init_weights="mam_adapter", adapter_residual_before_ln=True, phm_dim=2,
                        shared_W_phm=True, phm_rank=2),
}  # fmt: skip


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", SAME)
def test_an_adapter_of_any_setting_answers_as_in_adapters(name, kind, tmp_path):
    saved(tmp_path / "theirs", SAME[name], BASES[kind])
    check_same(tmp_path / "theirs", BASES[kind])


OTHERS = {
    "use_gating": (True, "use_gating is True, bottleneck has False"),
    "phm_layer": (True, "phm_layer is True, bottleneck has False"),
    "ln_before": (True, "ln_before is True, bottleneck has False"),
    "ln_after": (True, "ln_after is True, bottleneck has False"),
    "residual_before_ln": ("post_add", "residual_before_ln is 'post_add', bottleneck has True"),
    "scaling": ("channel", "scaling is 'channel', no number"),
    "reduction_factor": ({"default": 4}, "reduction_factor is {'default': 4}, no number"),
    "non_linearity": ("leakyrelu", "non_linearity is 'leakyrelu'; allowed: relu, swish, gelu"),
    "inv_adapter": ("glow", "inv_adapter is 'glow'; allowed: 'nice', or none"),
    "newer_switch": (True, "newer_switch is True: no setting that langmod knows"),
    "newer_number": (0, "newer_number is 0: no setting that langmod knows"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_adapter_of_another_function_is_refused_by_name(name, tmp_path):
    saved(tmp_path / "theirs", SAME["pfeiffer"])
    value, words = OTHERS[name]
    change(tmp_path / "theirs", **{name: value})
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith(words)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_an_unknown_switch_that_is_off_is_none(value, tmp_path):
    saved(tmp_path / "theirs", SAME["pfeiffer"])
    change(tmp_path / "theirs", newer_switch=value)
    check_same(tmp_path / "theirs")


def test_missing_and_surplus_tensors_are_listed_and_counted(tmp_path):
    saved(tmp_path / "theirs", SAME["pfeiffer"])
    state = load_file(tmp_path / "theirs" / TENSORS)
    kept = {key: each for key, each in state.items() if "layer.1." not in key}
    save_file(kept | {"roberta.x.adapters.mn.odd": torch.zeros(1)}, tmp_path / "theirs" / TENSORS)
    lacking, surplus = refused(tmp_path / "theirs")
    assert lacking.startswith("4 tensors, roberta.encoder.layer.1.output.adapters.mn.adapter_down")
    assert lacking.endswith(GONE)
    assert surplus == "roberta.x.adapters.mn.odd: is no place of bottleneck on this base"


def test_a_shape_that_many_tensors_have_is_said_once(tmp_path):
    saved(tmp_path / "theirs", SAME["pfeiffer"])
    change(tmp_path / "theirs", reduction_factor=8)
    faults = refused(tmp_path / "theirs")
    assert len(faults) == 3
    assert all(each.startswith("2 tensors, ") and "{0-1}" in each for each in faults)


def test_a_block_whose_tensors_are_gone_is_refused(tmp_path):
    saved(tmp_path / "theirs", SAME["pfeiffer"])
    change(tmp_path / "theirs", inv_adapter="nice", inv_adapter_reduction_factor=2)
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith("8 tensors, roberta.invertible_adapters.mn.F.{0,2}.bias")


@pytest.mark.parametrize("name", ["pfeiffer", "houlsby", "invertible"])
def test_checkpoints_of_the_first_versions_are_read_as_adapters_reads_them(name, tmp_path):
    """Names by kind of adapter, settings in a nested table, no version."""
    place = tmp_path / "theirs"
    saved(place, SAME[name])
    rename(place, "output.adapters.", "output.layer_text_lang_adapters.")
    rename(place, "attention.output.layer_text_lang_", "attention.output.attention_text_lang_")
    rename(place, "invertible_adapters.", "invertible_lang_adapters.")
    settings = json.loads((place / "adapter_config.json").read_text())["config"]
    block = {"block_type": settings.pop("inv_adapter"),
             "reduction_factor": settings.pop("inv_adapter_reduction_factor")}  # fmt: skip
    change(place, {"config": {}, "type": "text_lang"})
    nested = {"invertible_adapter": block} if block["block_type"] else {}
    path = place / "adapter_config.json"
    found = json.loads(path.read_text()) | {"config": settings | nested}
    path.write_text(json.dumps(found))
    without(place, "version")
    config = check_same(place)
    assert config.inv_adapter == block["block_type"]


def test_a_task_of_the_first_versions_names_a_block_that_it_does_not_have(tmp_path):
    place = tmp_path / "theirs"
    saved(place, SAME["pfeiffer"])
    change(place, {"type": "text_task"}, inv_adapter="nice", inv_adapter_reduction_factor=2)
    assert check_same(place).inv_adapter is None


def test_gelu_of_a_checkpoint_without_a_version_is_another_function(tmp_path):
    """It was renamed: what those call gelu is gelu_new today, and gelu_orig is gelu."""
    place = tmp_path / "theirs"
    saved(place, SeqBnConfig(reduction_factor=4, non_linearity="gelu"))
    check_same(place)
    without(place, "version")
    (fault,) = refused(place)
    assert fault.startswith("non_linearity is 'gelu_new'; allowed: ")
    change(place, non_linearity="gelu_orig")
    assert check_same(place).non_linearity == "gelu"


def test_every_field_of_adapters_settings_is_sorted():
    """A field that a new version of `adapters` brings fails here until somebody sorts it."""
    bottlenecks = [each for each in classes() if issubclass(each, BnConfig)]
    assert len(bottlenecks) > 5
    fields = {each.name for one in bottlenecks for each in dataclasses.fields(one)}
    assert fields - adapterhub.FIELDS.known == set()
    assert adapterhub.FIELDS.known - fields == {"architecture"}
    assert not adapterhub.FIELDS.served & adapterhub.FIELDS.idle


ARCHITECTURES = {
    **{each: each for each in ("lora", "ia3", "dora", "prefix_tuning", "prompt_tuning", "loreft",
                               "mam", "unipelt")},
    "compacter": CompacterConfig(reduction_factor=8),
    "adapter-plus": AdapterPlusConfig(reduction_factor=8, stochastic_depth=0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_are_refused_by_name(name, tmp_path):
    model = strong(xlmr).model
    adapters.init(model)
    model.add_adapter("mn", config=ARCHITECTURES[name])
    model.save_adapter(str(tmp_path / "mn"), "mn", with_head=False)
    found = json.loads((tmp_path / "mn" / "adapter_config.json").read_text())["config"]
    faults = refused(tmp_path / "mn")
    architecture = found.get("architecture")
    if architecture:
        assert faults == [f"architecture is {architecture!r}; allowed: bottleneck adapters"]
    else:
        assert any("phm_layer is True" in each or "scaling is 'channel'" in each for each in faults)


def test_every_architecture_of_adapters_is_one_that_is_refused_or_read():
    known = {"lora", "mtl_lora", "prefix_tuning", "prompt_tuning", "reft", "union", None}
    assert {each.architecture for each in classes()} - known == set()
