"""Invertible adapters: equal to `adapters`, undone by their inverse, each row its own."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptation.banks import banks_of, stack_banks
from adaptation.methods import METHODS
from adaptation.methods.invertible import PARTS, coupled, uncoupled
from adaptation.slot_sources import BankSource, FixedSource
from adaptation.slotted import SlottedBase
from langmod.errors import ConfigError, ModuleMismatch
from langmod.specs import ROLES, ROW_TOLERANCE
from tests.adaptation.models import bert, inputs_of, m2m100, module_for, xlmr
from tests.adaptation.test_methods import LIBRARY_TOLERANCE, logits, named
from training.loop.trainer import SparseHead

BOTTLENECKS = ("bottleneck", "double_bottleneck", "parallel_bottleneck")
HUB = {"bottleneck": "seq_bn_inv", "double_bottleneck": "double_seq_bn_inv"}
"""`adapters` has no name for a parallel one."""


def odd():
    """A width whose halves differ."""
    return xlmr(hidden_size=33, num_attention_heads=3)


BASES = {"xlmr": xlmr, "bert": bert, "odd": odd}


def config_of(method, **changes):
    settings = {"reduction_factor": 4, "inv_adapter": "nice", "inv_adapter_reduction_factor": 4}
    return method.Config(**settings | changes)


def invertible_part(tensors):
    return {name: each for name, each in tensors.items() if ".invertible." in name}


def source_of(**modules):
    return FixedSource(
        {k: v for role, each in modules.items() for k, v in named(role, each).items()}
    )


def in_adapters(base, tmp_path):
    """The base in `adapters`, whose hooks on Hugging Face's own classes leave out the inverse."""
    from adapters import AutoAdapterModel

    base.model.save_pretrained(tmp_path / "base")
    model = AutoAdapterModel.from_pretrained(tmp_path / "base").eval()
    # It takes the vocabulary's weights along, and leaves out their bias.
    model.heads["default"][-1].bias.data.copy_(base.model.get_output_embeddings().bias)
    return model


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_a_module_equals_adapters(name, kind, activation, tmp_path):
    from adapters.composition import Stack

    base = BASES[kind]()
    inputs = inputs_of(base)
    method = METHODS[name]
    config = config_of(method, non_linearity=activation)
    plain = config_of(method, inv_adapter=None)
    modules = {
        "language": (config, module_for(base, method, config, 1)),
        "task": (plain, module_for(base, method, plain, 2)),
    }
    theirs = in_adapters(base, tmp_path)
    for role, (settings, tensors) in modules.items():
        method.write(tmp_path / role, settings, tensors, base)
        theirs.load_adapter(str(tmp_path / role), use_safetensors=True)
    theirs.eval()
    slotted = SlottedBase(base)
    # Of a stack of parallel adapters `adapters` runs the last alone.
    stacks = [["language"]] if name == "parallel_bottleneck" else [["language"], list(ROLES)]
    for active in stacks:
        theirs.set_active_adapters(Stack(*active))
        with torch.no_grad():
            expected = theirs(**inputs).logits
        found = {role: modules[role][1] for role in active}
        ours = logits(slotted, source_of(**found), inputs)
        without = {role: {k: v for k, v in each.items() if k not in invertible_part(each)}
                   for role, each in found.items()}  # fmt: skip
        assert (logits(slotted, source_of(**without), inputs) - expected).abs().max() > 1e-2
        torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", HUB)
def test_what_adapters_saved_is_read(name, kind, tmp_path):
    base = BASES[kind]()
    theirs = in_adapters(base, tmp_path)
    theirs.add_adapter("mn", config=HUB[name])
    theirs.set_active_adapters("mn")
    generator = torch.Generator().manual_seed(2)
    for parameter_name, parameter in theirs.named_parameters():
        if "adapters.mn" in parameter_name:
            parameter.data.normal_(std=0.2, generator=generator)
    theirs.save_adapter(str(tmp_path / "mn"), "mn", use_safetensors=True)
    theirs.eval()
    inputs = inputs_of(base)
    with torch.no_grad():
        expected = theirs(**inputs).logits
    method = METHODS[name]
    assert method.recognises(tmp_path / "mn")
    config, tensors = method.read(tmp_path / "mn", base)
    assert config.inv_adapter == "nice"
    slotted = SlottedBase(base)
    ours = logits(slotted, source_of(language=tensors), inputs)
    assert (logits(slotted, None, inputs) - expected).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_checkpoints_read_back_as_written(name, kind, tmp_path):
    base = BASES[kind]()
    method = METHODS[name]
    config = config_of(method, non_linearity="tanh")
    tensors = module_for(base, method, config, 7)
    assert len(invertible_part(tensors)) == 9
    method.write(tmp_path / "mine", config, tensors, base)
    found_config, found = method.read(tmp_path / "mine", base)
    assert found_config == config
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_a_fresh_module_leaves_the_base_unchanged(name, kind):
    base = BASES[kind]()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    method = METHODS[name]
    fresh = method.fresh(config_of(method), base, torch.Generator().manual_seed(3))
    assert invertible_part(fresh)[f"{name}.invertible.g_down_weight"].abs().sum() > 0
    bare = logits(slotted, None, inputs)
    both = logits(slotted, source_of(language=fresh, task=fresh), inputs)
    torch.testing.assert_close(both, bare, rtol=0, atol=1e-6)


def through(arithmetic, tensors, value):
    """A value ``[B, T, D]`` through one module's block, without a base."""
    parts = {name.rsplit(".", 1)[1]: each.unsqueeze(0) for name, each in tensors.items()}
    banks = [parts[name] for name in (*PARTS, "activation")]
    return arithmetic(value, *banks, torch.zeros(1, 1, dtype=torch.long))


@pytest.mark.parametrize("kind", BASES)
def test_blocks_of_language_and_task_are_undone_in_turn(kind):
    base = BASES[kind]()
    ids = inputs_of(base)["input_ids"]
    slotted = SlottedBase(base)
    blocks = {}
    for seed, (role, name) in enumerate(
        zip(ROLES, ("double_bottleneck", "bottleneck"), strict=True)
    ):
        method = METHODS[name]
        blocks[role] = invertible_part(module_for(base, method, config_of(method), seed))
    with torch.no_grad():
        bare = base.embeddings(input_ids=ids)
        expected = through(coupled, blocks["task"], through(coupled, blocks["language"], bare))
        turned = through(coupled, blocks["language"], through(coupled, blocks["task"], bare))
        assert (expected - bare).abs().max() > 0.1
        assert (expected - turned).abs().max() > 0.01, "their order must matter"
        undone = through(uncoupled, blocks["task"], expected)
        torch.testing.assert_close(
            undone, through(coupled, blocks["language"], bare), rtol=0, atol=1e-5
        )
        with slotted.using(source_of(**blocks)):
            changed = base.embeddings(input_ids=ids)
            scores = base.vocabulary(changed)
        torch.testing.assert_close(changed, expected, rtol=0, atol=1e-5)
        assert (base.vocabulary(changed) - scores).abs().max() > 0.01
        torch.testing.assert_close(scores, base.vocabulary(bare), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", BASES)
def test_mixed_rows_answer_as_they_do_alone(kind):
    """Blocks of three methods and widths beside rows without any."""
    base = BASES[kind]()
    inputs = inputs_of(base, rows=6)
    slotted = SlottedBase(base)
    languages = [
        module_for(base, METHODS[name], config_of(METHODS[name], **changes), seed)
        for seed, (name, changes) in enumerate([
            ("bottleneck", {"non_linearity": "tanh"}),
            ("bottleneck", {"inv_adapter_reduction_factor": 2}),
            ("double_bottleneck", {}),
            ("bottleneck", {"inv_adapter": None}),
        ])
    ]  # fmt: skip
    parallel = METHODS["parallel_bottleneck"]
    task = module_for(base, parallel, config_of(parallel), 9)
    slots = torch.tensor([[1, 0], [2, 1], [0, 0], [3, 0], [4, 1], [0, 1]])
    alone = []
    for row, (language, own) in enumerate(slots.tolist()):
        found = {"language": languages[language - 1]} if language else {}
        source = source_of(**found, **({"task": task} if own else {}))
        alone.append(logits(slotted, source, inputs)[row])
    bare = logits(slotted, None, inputs)
    assert all((each - bare[row]).abs().max() > 1e-2 for row, each in enumerate(alone) if row != 2)
    modules = [*(("language", each) for each in languages), ("task", task)]
    banks = stack_banks(banks_of(base), modules)
    mixed = logits(slotted, BankSource(banks, slots), inputs)
    torch.testing.assert_close(mixed, torch.stack(alone), rtol=0, atol=ROW_TOLERANCE)


@pytest.mark.parametrize("kind", ["xlmr", "bert"])
def test_training_scores_chosen_tokens_as_the_whole_row(kind):
    base = BASES[kind]()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    method = METHODS["bottleneck"]
    source = source_of(language=module_for(base, method, config_of(method), 3))
    whole = logits(slotted, source, inputs)
    sparse = SparseHead(base.vocabulary_head())
    sparse.chosen = inputs["input_ids"] % 3 == 0
    chosen = logits(slotted, source, inputs)
    assert chosen.shape == (int(sparse.chosen.sum()), whole.shape[-1])
    torch.testing.assert_close(chosen, whole[sparse.chosen], rtol=0, atol=ROW_TOLERANCE)


def test_a_translator_has_no_place_for_it(tmp_path):
    base, encoder, method = m2m100(), xlmr(), METHODS["bottleneck"]
    words = r"inv_adapter is 'nice'; a translator has no vocabulary above its encoder"
    with pytest.raises(ConfigError, match=words):
        method.fresh(config_of(method), base, torch.Generator())
    tensors = module_for(encoder, method, config_of(method), 3)
    method.write(tmp_path / "mine", config_of(method), tensors, encoder)
    with pytest.raises(ModuleMismatch, match=words):
        method.read(tmp_path / "mine", base)
    assert not any("invertible" in bank.name for bank in banks_of(base))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inv_adapter": "glow"}, r"inv_adapter is 'glow'; allowed: 'nice'"),
        ({"inv_adapter_reduction_factor": None}, r"factor is None; allowed: above 0, at most 16"),
        ({"inv_adapter_reduction_factor": 17}, r"factor is 17; allowed: above 0, at most 16"),
        (
            {"inv_adapter_reduction_factor": 8},
            r"G\.0\.weight: has shape \[4, 16\], allowed \[2, 16\]",
        ),
    ],
)
def test_blocks_of_another_form_are_refused(changes, words, tmp_path):
    base, method = xlmr(), METHODS["bottleneck"]
    method.write(
        tmp_path / "mn", config_of(method), module_for(base, method, config_of(method), 3), base
    )
    path = tmp_path / "mn" / "adapter_config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"config": described["config"] | changes}))
    with pytest.raises(ModuleMismatch, match=words):
        method.read(tmp_path / "mn", base)


def test_missing_tensors_are_named(tmp_path):
    base, method = xlmr(), METHODS["bottleneck"]
    method.write(
        tmp_path / "mn", config_of(method), module_for(base, method, config_of(method), 3), base
    )
    path = tmp_path / "mn" / "adapter.safetensors"
    state = load_file(path)
    key = "roberta.invertible_adapters.mn.G.2.bias"
    save_file({name: each for name, each in state.items() if name != key}, path)
    with pytest.raises(ModuleMismatch, match=f"{key}: the settings ask for it and it is missing"):
        method.read(tmp_path / "mn", base)
