"""PEFT's checkpoints of every setting: answers as PEFT's own, or a refusal that names the cause."""

import dataclasses
import json
import warnings

import pytest
import torch
from peft import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    BeftConfig,
    IA3Config,
    LoraConfig,
    PeftModel,
    get_peft_model,
)
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, MontecloraConfig
from safetensors.torch import load_file, save_file

from adaptation import peft_folder
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.errors import BrokenModule, ModuleMismatch
from tests.adaptation.models import bert, halves, inputs_of, m2m100, strong, xlmr
from tests.adaptation.test_methods import LIBRARY_TOLERANCE, logits, named

BASES = {"xlmr": xlmr, "bert": bert, "m2m100": m2m100, "halves": halves}
WITH_STEM = ["xlmr", "bert", "m2m100"]
SERVED = {name: fields for each in METHODS.values() for name, fields in each.peft_types.items()}
METHOD_OF = {name: each for each in METHODS.values() for name in each.peft_types}
TENSORS = "adapter_model.safetensors"


def saved(folder, config, make=xlmr, only=("lora_", "ia3_l", "beft_bias"), scale=0.3):
    """A checkpoint whose numbers are random, and what PEFT answers once it read it again."""
    model = get_peft_model(strong(make).model, config)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if any(each in name for each in only):
            drawn = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data.copy_(drawn + 1 if "ia3_l" in name else drawn)
    model.save_pretrained(folder)
    return answers_of_peft(folder, make)


def answers_of_peft(folder, make=xlmr):
    base = strong(make)
    inputs = inputs_of(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(base.model, folder).eval()
    with torch.no_grad():
        return model(**inputs).logits


def answers_of_ours(folder, make=xlmr):
    base = strong(make)
    kind = json.loads((folder / "adapter_config.json").read_text())["peft_type"]
    config, tensors = METHOD_OF[kind].read(folder, base)
    source = FixedSource(named("language", tensors))
    return config, tensors, logits(SlottedBase(base), source, inputs_of(base))


def bare(make=xlmr):
    base = strong(make)
    return logits(SlottedBase(base), None, inputs_of(base))


def check_same(folder, expected, make=xlmr):
    config, tensors, ours = answers_of_ours(folder, make)
    assert (expected - bare(make)).abs().max() > 1e-2, "the module changes nothing"
    torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)
    return config, tensors


def change(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop(folder, *words, keep=()):
    """Leaves out the tensors whose names hold one of some words."""
    state = load_file(folder / TENSORS)
    gone = [key for key in state if any(word in key for word in words)]
    gone = [key for key in gone if not any(word in key for word in keep)]
    assert gone
    save_file({key: each for key, each in state.items() if key not in gone}, folder / TENSORS)
    return gone


def refused(folder, make=xlmr):
    kind = json.loads((folder / "adapter_config.json").read_text())["peft_type"]
    with pytest.raises(ModuleMismatch) as error:
        METHOD_OF[kind].read(folder, strong(make))
    return error.value.details["faults"]


def lora(**changes):
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["query", "value", "q_proj", "v_proj"]}
    return LoraConfig(**settings | changes)


SAME = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "ranks": {"rank_pattern": {"layer.0.attention.self.query": 7, "value": 2}},
    "alphas": {"alpha_pattern": {r"layer\.1\..*query": 11, "value": 2}},
    "rslora-ranks-alphas": {
        "use_rslora": True,
        "rank_pattern": {"query": 9},
        "alpha_pattern": {"roberta.encoder.layer.0.attention.self.value": 3},
    },
    "expression": {"target_modules": r".*\.attention\.(self\.key|output\.dense)"},
    "all-linear": {"target_modules": "all-linear", "exclude_modules": ["lm_head.dense"]},
    "whole-names": {"target_modules": ["roberta.encoder.layer.1.output.dense"]},
    "excluded": {"target_modules": ["dense"], "exclude_modules": ["attention.output.dense",
                                                                   "lm_head.dense"]},
    "excluded-expression": {"target_modules": ["query", "key"], "exclude_modules": r".*layer\.0.*"},
    "one-layer": {"layers_to_transform": 1},
    "layers-of-a-pattern": {"layers_to_transform": [0], "layers_pattern": "layer"},
    "fan-in-fan-out": {"fan_in_fan_out": True},
    "dropout": {"lora_dropout": 0.5},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "random": {"init_lora_weights": False},
    "velora": {"velora_config": {"num_groups": 8}},
    "lora-only-bias": {"bias": "lora_only"},
    "all-biases": {"bias": "all"},
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
@pytest.mark.filterwarnings("ignore")
def test_a_lora_of_any_setting_answers_as_in_peft(name, tmp_path):
    learned = ("lora_", ".layer.0.attention.self.query.base_layer.bias")
    learned += (".layer.1.output.LayerNorm.bias",) if name == "all-biases" else ()
    only = learned if SAME[name].get("bias") else ("lora_",)
    expected = saved(tmp_path / "theirs", lora(**SAME[name]), only=only)
    _, tensors = check_same(tmp_path / "theirs", expected)
    biases = {key for key in tensors if key.startswith("bitfit.")}
    assert len(biases) == {"lora-only-bias": 1, "all-biases": 2}.get(name, 0)


def test_all_linear_is_told_apart_from_a_name(tmp_path):
    """PEFT writes the names that it found; others write the word."""
    excluded = ["lm_head.dense"]
    saved(tmp_path / "theirs", lora(target_modules="all-linear", exclude_modules=excluded))
    change(tmp_path / "theirs", target_modules="all-linear")
    config, _ = check_same(tmp_path / "theirs", answers_of_peft(tmp_path / "theirs"))
    assert "attention.self.query" in config.target_modules
    assert len(config.target_modules) == 6


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", ["rslora-ranks-alphas", "lora-only-bias"])
@pytest.mark.filterwarnings("ignore")
def test_ranks_factors_and_biases_are_served_on_every_family(name, kind, tmp_path):
    only = ("lora_", "query.base_layer.bias", "q_proj.base_layer.bias")
    settings = {k: v for k, v in SAME[name].items() if k != "alpha_pattern"}
    expected = saved(tmp_path / "theirs", lora(**settings), BASES[kind], only)
    check_same(tmp_path / "theirs", expected, BASES[kind])


def test_the_settings_of_a_served_lora_are_those_of_plain_lora(tmp_path):
    saved(tmp_path / "rs", lora(use_rslora=True))
    config, _, _ = answers_of_ours(tmp_path / "rs")
    assert (config.r, config.lora_alpha) == (4, 12)
    saved(tmp_path / "ranks", lora(rank_pattern={"query": 9}))
    config, tensors, _ = answers_of_ours(tmp_path / "ranks")
    assert (config.r, config.lora_alpha) == (9, 9)
    assert tensors["lora.encoder.attention.self.query.a"].shape[-1] == 9
    assert tensors["lora.encoder.attention.self.value.a"].shape[-1] == 4


STARTS = {
    "pissa": "path_initial_model_for_weight_conversion",
    "pissa_niter_2": "path_initial_model_for_weight_conversion",
    "olora": "path_initial_model_for_weight_conversion",
    "OLoRA": "path_initial_model_for_weight_conversion",
    "corda": "path_initial_model_for_weight_conversion",
    "lora_ga": "path_initial_model_for_weight_conversion",
    "loftq": "quantised",
    "newer": "allowed: true, false, gaussian, eva, orthogonal, mica",
}


@pytest.mark.parametrize("start", STARTS)
def test_a_lora_that_changed_its_base_at_the_start_is_refused(start, tmp_path):
    saved(tmp_path / "theirs", lora())
    change(tmp_path / "theirs", init_lora_weights=start)
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith(f"init_lora_weights is {start!r}: ")
    assert STARTS[start] in fault


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_what_peft_answers_after_such_a_start_is_not_what_slots_would(start, tmp_path):
    """Why they are refused; and saved by PEFT as plain LoRA they are served."""
    model = get_peft_model(strong(xlmr).model, lora(init_lora_weights=start))
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "first")
    model.peft_config["default"].init_lora_weights = start
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.2
    model.save_pretrained(tmp_path / "trained")
    expected = answers_of_peft(tmp_path / "trained")
    assert refused(tmp_path / "trained")
    change(tmp_path / "trained", init_lora_weights=True)
    _, _, ours = answers_of_ours(tmp_path / "trained")
    assert (ours - expected).abs().max() > 1e-2
    model.save_pretrained(
        tmp_path / "plain", path_initial_model_for_weight_conversion=tmp_path / "first"
    )
    _, _, ours = answers_of_ours(tmp_path / "plain")
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


VARIANTS = {
    "use_dora": (True, "magnitude"),
    "use_qalora": (True, "pools"),
    "lora_bias": (True, "bias of its own"),
    "kasa_config": ({"beta": 1e-4}, "truncates"),
    "use_bdlora": ({"nblocks": 2}, "block-diagonal"),
    "arrow_config": ({"top_k": 2}, "mixes"),
    "monteclora_config": ({"num_samples": 2}, "between A and B"),
    "alora_invocation_tokens": ([5, 6], "middle of a text"),
    "layer_replication": ([[0, 2], [1, 2]], "repeats layers"),
    "target_parameters": (["weight"], "no linear"),
    "trainable_token_indices": ([3], "word vectors"),
    "megatron_config": ({"hidden_size": 32}, "Megatron"),
    "use_superlora": (True, "no setting that langmod knows"),
    "some_newer_option": (0, "no setting that langmod knows"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_lora_of_another_function_is_refused_by_name(name, tmp_path):
    saved(tmp_path / "theirs", lora())
    value, words = VARIANTS[name]
    change(tmp_path / "theirs", **{name: value})
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith(f"{name} is {value!r}: ")
    assert words in fault


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_an_unknown_setting_that_is_not_set_is_none(value, tmp_path):
    expected = saved(tmp_path / "theirs", lora())
    change(tmp_path / "theirs", some_newer_option=value)
    check_same(tmp_path / "theirs", expected)


AS_SAVED = {
    "use_dora": {"use_dora": True},
    "lora_bias": {"lora_bias": True},
    "kasa_config": {"kasa_config": KasaConfig()},
    "monteclora_config": {"monteclora_config": MontecloraConfig()},
    "use_bdlora": {"use_bdlora": BdLoraConfig(target_modules_bd_a=["query"], nblocks=2,
                                              target_modules_bd_b=["value"])},
    "alora_invocation_tokens": {"alora_invocation_tokens": [5]},
    "trainable_token_indices": {"trainable_token_indices": [3, 4]},
}  # fmt: skip


@pytest.mark.parametrize("name", AS_SAVED)
@pytest.mark.filterwarnings("ignore")
def test_another_function_as_peft_saves_it_is_said_in_one_line(name, tmp_path):
    saved(tmp_path / "theirs", lora(**AS_SAVED[name]))
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith(f"{name} is ")
    assert VARIANTS[name][1] in fault


GONE = "the settings ask for it and it is missing"
QUERY = "base_model.model.roberta.encoder.layer.{}.attention.self.query.lora_{}.weight"
MISSING = {
    "one": (["layer.1.attention.self.query.lora_B"], f"{QUERY.format(1, 'B')}: {GONE}"),
    "a-layer": (["layer.0."], "4 tensors, "),
    "every-value": (["value"], "4 tensors, "),
    "every-B": (["lora_B"], "4 tensors, "),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_tensors_are_listed_and_counted(name, tmp_path):
    saved(tmp_path / "theirs", lora())
    words, start = MISSING[name]
    gone = drop(tmp_path / "theirs", *words)
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith(start)
    assert fault.endswith(GONE)
    assert len(gone) == (1 if name == "one" else 4)


def test_surplus_tensors_are_listed_and_counted(tmp_path):
    saved(tmp_path / "theirs", lora())
    change(tmp_path / "theirs", target_modules=["query"])
    state = load_file(tmp_path / "theirs" / TENSORS)
    odd = {"base_model.model.roberta.pooler.dense.lora_A.weight": torch.zeros(4, 32)}
    save_file(state | odd, tmp_path / "theirs" / TENSORS)
    assert refused(tmp_path / "theirs") == [
        "base_model.model.roberta.pooler.dense.lora_A.weight: is no linear in a layer of this base",
        "4 tensors, base_model.model.roberta.encoder.layer.{0-1}.attention.self.value.lora_A."
        "weight, base_model.model.roberta.encoder.layer.{0-1}.attention.self.value.lora_B.weight: "
        "the settings do not ask for it",
    ]


def test_a_rank_that_is_not_the_settings_is_said_once(tmp_path):
    saved(tmp_path / "theirs", lora())
    change(tmp_path / "theirs", r=5)
    faults = refused(tmp_path / "theirs")
    assert len(faults) == 2
    assert all("has shape" in each and each.startswith("4 tensors, ") for each in faults)


OTHER_NAMES = {
    "compiled": ("base_model.model.", "base_model.model._orig_mod."),
    "wrapped-twice": ("base_model.model.", "base_model.model.base_model.model."),
    "no-prefix": ("base_model.model.", ""),
    "adapter-name": ("lora_A.weight", "lora_A.default.weight"),
    "another-family": ("roberta.", "bert."),
    "inside-another-model": ("roberta.", "language_model.roberta."),
}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_tensors_under_other_names_are_refused_not_passed_over(name, tmp_path):
    saved(tmp_path / "theirs", lora())
    old, new = OTHER_NAMES[name]
    state = load_file(tmp_path / "theirs" / TENSORS)
    save_file({key.replace(old, new): each for key, each in state.items()},
              tmp_path / "theirs" / TENSORS)  # fmt: skip
    faults = refused(tmp_path / "theirs")
    assert len(faults) == 2
    assert GONE in faults[0]


@pytest.mark.parametrize("targets", [["nothing"], [], None, "nothing", ["lm_head.dense"]])
def test_settings_that_change_nothing_are_refused(targets, tmp_path):
    saved(tmp_path / "theirs", lora())
    change(tmp_path / "theirs", target_modules=targets)
    faults = refused(tmp_path / "theirs")
    assert any(each.startswith("target_modules") for each in faults)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r": 0}, "r of roberta.encoder.layer.0.attention.self.query is 0; allowed: a number"),
        ({"lora_alpha": "big"}, "lora_alpha of .* is 'big'"),
        ({"rank_pattern": {"(": 4}}, r"rank_pattern '\(' is no expression"),
        ({"target_modules": "*query"}, r"target_modules '\*query' is no expression"),
    ],
)
def test_settings_that_are_broken(changes, words, tmp_path):
    saved(tmp_path / "theirs", lora())
    change(tmp_path / "theirs", **changes)
    with pytest.raises(BrokenModule, match=words):
        METHODS["lora"].read(tmp_path / "theirs", xlmr())


def test_biases_that_no_slot_holds_are_refused(tmp_path):
    only = ("lora_", "embeddings.LayerNorm.bias", "lm_head.dense.bias")
    saved(tmp_path / "theirs", lora(bias="all"), only=only)
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith("2 tensors, base_model.model.lm_head.dense.bias, base_model.model.rob")
    assert fault.endswith("embeddings.LayerNorm.bias: is no linear in a layer of this base")
    change(tmp_path / "theirs", bias="some")
    assert "bias is 'some'; allowed: none, lora_only, all" in refused(tmp_path / "theirs")


@pytest.mark.parametrize("which", ["lora_only", "all"])
def test_biases_that_peft_lost_on_saving_are_said_in_one_line(which, tmp_path):
    saved(tmp_path / "theirs", lora(bias=which))
    drop(tmp_path / "theirs", ".bias")
    (fault,) = refused(tmp_path / "theirs")
    assert fault.startswith(f"bias is {which!r}: the biases that learned are missing")
    change(tmp_path / "theirs", bias="none")
    check_same(tmp_path / "theirs", answers_of_peft(tmp_path / "theirs"))


@pytest.mark.parametrize("kind", WITH_STEM)
def test_a_checkpoint_of_the_model_without_its_head_is_the_same_module(kind, tmp_path):
    """PEFT around `AutoModel` leaves the base's own name out of every tensor's."""
    base = strong(BASES[kind])
    inner = get_peft_model(base.model.base_model, lora(rank_pattern={"query": 6}))
    generator = torch.Generator().manual_seed(5)
    for name, parameter in inner.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.3, generator=generator)
    inner.save_pretrained(tmp_path / "theirs")
    inputs = inputs_of(base)
    with torch.no_grad():
        expected = inner(**inputs).last_hidden_state
    ours = SlottedBase(strong(BASES[kind]))
    _, tensors = METHODS["lora"].read(tmp_path / "theirs", ours.architecture)
    source = FixedSource(named("language", tensors))
    with torch.no_grad(), ours.using(source):
        found = ours.model.base_model(**inputs).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


OTHERS = {
    "ia3": (IA3Config(target_modules=["key", "value", "output.dense"],
                      feedforward_modules=["output.dense"]), "layer.1.attention.self.key"),
    "ia3-expression": (IA3Config(target_modules=r".*self\.(key|value)", feedforward_modules=[]),
                       "layer.0.attention.self.value"),
    "beft": (BeftConfig(target_modules=["value"]), "layer.0.attention.self.value"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_methods_of_peft_are_whole_or_refused(name, tmp_path):
    config, gone = OTHERS[name]
    expected = saved(tmp_path / "theirs", config)
    check_same(tmp_path / "theirs", expected)
    change(tmp_path / "theirs", some_newer_option=1)
    drop(tmp_path / "theirs", gone)
    unknown, lacking = refused(tmp_path / "theirs")
    assert unknown == "some_newer_option is 1: no setting that langmod knows"
    assert gone in lacking
    assert lacking.endswith(GONE)


@pytest.mark.parametrize("kind", SERVED)
def test_every_field_of_pefts_settings_is_sorted(kind):
    """A field that a new version of PEFT brings fails here until somebody sorts it."""
    config = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    fields = {each.name for each in dataclasses.fields(config)}
    assert fields - SERVED[kind].known == set()
    sorts = [SERVED[kind].served, SERVED[kind].idle, set(SERVED[kind].refused)]
    assert sum(map(len, sorts)) == len(SERVED[kind].known), "a field is in two sorts"


@pytest.mark.parametrize("kind", SERVED)
def test_no_field_is_sorted_that_peft_does_not_have(kind):
    fields = {each.name for each in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
    assert SERVED[kind].known - fields == set()


def test_pefts_rule_for_linears_is_ours():
    from peft.tuners.tuners_utils import check_target_module_exists

    names = [
        f"{root}encoder.layer.{layer}.{path}"
        for root in ("", "roberta.") for layer in (0, 1, 11)
        for path in ("attention.self.query", "attention.output.dense", "output.dense")
    ]  # fmt: skip
    cases = [
        {"target_modules": ["query", "dense"]},
        {"target_modules": ["output.dense"], "exclude_modules": ["attention.output.dense"]},
        {"target_modules": ["query"], "layers_to_transform": [1, 11]},
        {"target_modules": ["query"], "layers_to_transform": 0, "layers_pattern": ["h", "layer"]},
        {"target_modules": ["query"], "layers_to_transform": [0], "layers_pattern": "h"},
        {"target_modules": ["query"], "layers_to_transform": []},
        {"target_modules": r".*\.1\d?\..*(query|output\.dense)"},
        {"target_modules": ["roberta.encoder.layer.0.output.dense"], "layers_to_transform": [1]},
        {"target_modules": ["uery"]},
    ]
    chosen = set()
    for each in cases:
        config = LoraConfig(**each)
        theirs = [bool(check_target_module_exists(config, name)) for name in names]
        assert [peft_folder.targeted(each, name) for name in names] == theirs, each
        chosen.add(tuple(theirs))
    assert len(chosen) == len(cases) - 1, "only the last names nothing, as one before it does"
