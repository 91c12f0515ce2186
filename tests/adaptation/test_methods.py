"""Parity of every registered method: against its own library, against the bare base, in a mix."""

import pytest
import torch
from safetensors.torch import load_file

from adaptation.banks import banks_of, stack_banks
from adaptation.methods import METHODS
from adaptation.methods.bitfit import QUERY_AND_MIDDLE
from adaptation.methods.perceptron import ACTIVATIONS
from adaptation.slot_sources import BankSource, FixedSource
from adaptation.slotted import SlottedBase
from langmod.specs import ROLES, ROW_TOLERANCE
from tests.adaptation.models import BASES, inputs_of, module_for, xlmr

CASES = [
    (method, base)
    for method in METHODS
    for base, made in BASES.items()
    if METHODS[method].unfit(made().kind, "language") is None
]
LIBRARY_TOLERANCE = 2e-6


def logits(slotted, source, inputs):
    with torch.no_grad(), slotted.using(source):
        return slotted.model(**inputs).logits


def named(role, tensors):
    return {f"{role}.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("name", "kind"), [case for case in CASES if METHODS[case[0]].starts_at_base]
)
def test_a_fresh_module_leaves_the_base_unchanged(name, kind):
    base = BASES[kind]()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    bare = logits(slotted, None, inputs)
    method = METHODS[name]
    fresh = method.fresh(method.Config(), base, torch.Generator().manual_seed(3))
    for role in ROLES:
        with_module = logits(slotted, FixedSource(named(role, fresh)), inputs)
        torch.testing.assert_close(with_module, bare, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_mixed_rows_answer_as_they_do_alone(name, kind):
    base = BASES[kind]()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    method = METHODS[name]
    a, b = (module_for(base, method, method.Config(), seed) for seed in (5, 6))
    alone = {
        0: logits(slotted, None, inputs),
        1: logits(slotted, FixedSource(named("language", a)), inputs),
        2: logits(slotted, FixedSource(named("language", b)), inputs),
    }
    both = logits(slotted, FixedSource(named("language", a) | named("task", b)), inputs)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        difference = (alone[one] - alone[other]).abs().max()
        assert difference > 20 * ROW_TOLERANCE, "modules must change answers"
    banks = stack_banks(banks_of(base), [("language", a), ("language", b), ("task", b)])
    slots = torch.tensor([[1, 0], [0, 0], [2, 0], [1, 1]])
    mixed = logits(slotted, BankSource(banks, slots), inputs)
    expected = torch.stack([alone[1][0], alone[0][1], alone[2][2], both[3]])
    if base.kind == "encoder":
        # What stands at padding means nothing, and a prompt moves padding.
        tokens = inputs["attention_mask"].bool()
        mixed, expected = mixed[tokens], expected[tokens]
    torch.testing.assert_close(mixed, expected, rtol=0, atol=ROW_TOLERANCE)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_checkpoints_read_back_as_written(name, kind, tmp_path):
    base = BASES[kind]()
    method = METHODS[name]
    tensors = module_for(base, method, method.Config(), 7)
    method.write(tmp_path / "mine", method.Config(), tensors, base)
    _, found = method.read(tmp_path / "mine", base)
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-6, atol=1e-7)


PEFT = {"lora": {"r": 4, "lora_alpha": 12}, "ia3": {}}


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", PEFT)
def test_a_module_equals_peft(name, kind, tmp_path):
    from peft import PeftModel

    base = BASES[kind]()
    inputs = inputs_of(base)
    method = METHODS[name]
    config = method.Config(**PEFT[name])
    tensors = module_for(base, method, config, 8)
    method.write(tmp_path / "mine", config, tensors, base)
    slotted = SlottedBase(base)
    ours = logits(slotted, FixedSource(named("language", tensors)), inputs)
    bare = logits(slotted, None, inputs)
    theirs = PeftModel.from_pretrained(BASES[kind]().model, tmp_path / "mine").eval()
    with torch.no_grad():
        expected = theirs(**inputs).logits
    assert (bare - expected).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("targets", [None, QUERY_AND_MIDDLE], ids=["all", "query_and_middle"])
def test_bitfit_is_a_part_of_a_state_dict(targets, kind, tmp_path):
    base = BASES[kind]()
    inputs = inputs_of(base)
    method = METHODS["bitfit"]
    config = method.Config(target_modules=targets)
    tensors = module_for(base, method, config, 8)
    method.write(tmp_path / "mine", config, tensors, base)
    slotted = SlottedBase(base)
    bare = logits(slotted, None, inputs)
    ours = logits(slotted, FixedSource(named("task", tensors)), inputs)
    plain = BASES[kind]().model
    found = plain.load_state_dict(load_file(tmp_path / "mine" / "biases.safetensors"), strict=False)
    assert not found.unexpected_keys
    with torch.no_grad():
        expected = plain(**inputs).logits
    assert (bare - expected).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


@pytest.mark.parametrize("kind", BASES)
def test_beft_checkpoints_are_bitfit(kind, tmp_path):
    from peft import BeftConfig, get_peft_model

    base = BASES[kind]()
    inputs = inputs_of(base)
    targets = ["value", "output.dense", "v_proj", "fc2"]
    theirs = get_peft_model(BASES[kind]().model, BeftConfig(target_modules=targets)).eval()
    generator = torch.Generator().manual_seed(4)
    for name, parameter in theirs.named_parameters():
        if "beft_bias" in name:
            parameter.data.normal_(generator=generator)
    theirs.save_pretrained(tmp_path / "theirs")
    config, tensors = METHODS["bitfit"].read(tmp_path / "theirs", base)
    assert set(config.target_modules) == set(targets)
    with torch.no_grad():
        expected = theirs(**inputs).logits
    slotted = SlottedBase(base)
    ours = logits(slotted, FixedSource(named("language", tensors)), inputs)
    assert (logits(slotted, None, inputs) - expected).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


HUB = {
    "bottleneck": {"reduction_factor": 4},
    "double_bottleneck": {"reduction_factor": 4},
    "parallel_bottleneck": {"reduction_factor": 4, "scaling": 2.0},
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["xlmr", "bert"])
@pytest.mark.parametrize("name", HUB)
def test_stacked_bottlenecks_equal_adapters(name, kind, activation, tmp_path):
    import adapters
    from adapters.composition import Stack

    base = BASES[kind]()
    inputs = inputs_of(base)
    method = METHODS[name]
    config = method.Config(**HUB[name], non_linearity=activation, leave_out=(1,))
    modules = {role: module_for(base, method, config, seed) for seed, role in enumerate(ROLES)}
    for tensors in modules.values():
        for key, layers in method.frozen_layers(config, base).items():
            tensors[key][layers] = 0
    theirs = BASES[kind]().model
    adapters.init(theirs)
    for role, tensors in modules.items():
        method.write(tmp_path / role, config, tensors, base)
        theirs.load_adapter(str(tmp_path / role), use_safetensors=True)
    theirs.eval()
    slotted = SlottedBase(base)
    # Of a stack of parallel adapters `adapters` runs the last alone.
    stacks = [["language"]] if name == "parallel_bottleneck" else [["language"], list(ROLES)]
    for active in stacks:
        theirs.set_active_adapters(Stack(*active))
        with torch.no_grad():
            expected = theirs(**inputs).logits
        source = FixedSource({k: v for r in active for k, v in named(r, modules[r]).items()})
        ours = logits(slotted, source, inputs)
        assert (logits(slotted, None, inputs) - expected).abs().max() > 1e-2
        torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


def test_modules_of_every_activation_share_a_batch():
    base = xlmr()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    method = METHODS["bottleneck"]
    modules = [
        module_for(base, method, method.Config(non_linearity=each, reduction_factor=4), 3)
        for each in ACTIVATIONS
    ]
    alone = [logits(slotted, FixedSource(named("task", each)), inputs) for each in modules]
    assert all((one - alone[0]).abs().max() > 1e-4 for one in alone[1:])
    banks = stack_banks(banks_of(base), [("task", each) for each in modules])
    slots = torch.tensor([[0, row + 1] for row in range(4)])
    mixed = logits(slotted, BankSource(banks, slots), inputs)
    expected = torch.stack([each[row] for row, each in enumerate(alone)])
    torch.testing.assert_close(mixed, expected, rtol=0, atol=ROW_TOLERANCE)


def test_a_module_without_an_activation_takes_its_methods_own():
    base = xlmr()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    for name, default in (("bottleneck", "relu"), ("double_bottleneck", "swish")):
        method = METHODS[name]
        tensors = module_for(base, method, method.Config(non_linearity=default), 3)
        bare = {key: each for key, each in tensors.items() if not key.endswith("activation")}
        said, unsaid = (
            logits(slotted, FixedSource(named("language", each)), inputs)
            for each in (tensors, bare)
        )
        torch.testing.assert_close(said, unsaid, rtol=0, atol=0)


def test_gradients_reach_a_module_and_nothing_else():
    base = xlmr()
    base.model.requires_grad_(False)
    method = METHODS["bottleneck"]
    tensors = {
        name: tensor.requires_grad_()
        for name, tensor in module_for(base, method, method.Config(), 9).items()
        if tensor.is_floating_point()
    }
    slotted = SlottedBase(base)
    with slotted.using(FixedSource(named("task", tensors))):
        slotted.model(**inputs_of(base)).logits.sum().backward()
    assert all(
        tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors.values()
    )
    assert all(parameter.grad is None for parameter in base.model.parameters())
