"""Parity of every registered method: against its own library, against the bare base, in a mix."""

import pytest
import torch

from langmod.methods import METHODS
from langmod.slotted import BankSource, FixedSource, SlottedBase, banks_of, stack_banks
from langmod.specs import ROLES, ROW_TOLERANCE
from tests.langmod.models import BASES, inputs_of, module_for, xlmr

CASES = [(method, base) for method in METHODS for base in BASES]
LIBRARY_TOLERANCE = 2e-6


def logits(slotted, source, inputs):
    with torch.no_grad(), slotted.using(source):
        return slotted.model(**inputs).logits


def named(role, tensors):
    return {f"{role}.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(("name", "kind"), CASES)
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
        assert (alone[one] - alone[other]).abs().max() > 1e-2, "modules must change answers"
    banks = stack_banks(banks_of(base), [("language", a), ("language", b), ("task", b)])
    slots = torch.tensor([[1, 0], [0, 0], [2, 0], [1, 1]])
    mixed = logits(slotted, BankSource(banks, slots), inputs)
    expected = torch.stack([alone[1][0], alone[0][1], alone[2][2], both[3]])
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


@pytest.mark.parametrize("kind", BASES)
def test_lora_equals_peft(kind, tmp_path):
    from peft import PeftModel

    base = BASES[kind]()
    inputs = inputs_of(base)
    method = METHODS["lora"]
    config = method.Config(r=4, lora_alpha=12)
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


@pytest.mark.parametrize("kind", ["xlmr", "bert"])
def test_stacked_bottlenecks_equal_adapters(kind, tmp_path):
    import adapters
    from adapters.composition import Stack

    base = BASES[kind]()
    inputs = inputs_of(base)
    method = METHODS["bottleneck"]
    config = method.Config(reduction_factor=4)
    modules = {role: module_for(base, method, config, seed) for seed, role in enumerate(ROLES)}
    theirs = BASES[kind]().model
    adapters.init(theirs)
    for role, tensors in modules.items():
        method.write(tmp_path / role, config, tensors, base)
        theirs.load_adapter(str(tmp_path / role), use_safetensors=True)
    theirs.eval()
    slotted = SlottedBase(base)
    for active in (["language"], ["language", "task"]):
        theirs.set_active_adapters(Stack(*active))
        with torch.no_grad():
            expected = theirs(**inputs).logits
        source = FixedSource({k: v for r in active for k, v in named(r, modules[r]).items()})
        ours = logits(slotted, source, inputs)
        assert (logits(slotted, None, inputs) - expected).abs().max() > 1e-2
        torch.testing.assert_close(ours, expected, rtol=0, atol=LIBRARY_TOLERANCE * 5)


def test_gradients_reach_a_module_and_nothing_else():
    base = xlmr()
    base.model.requires_grad_(False)
    method = METHODS["bottleneck"]
    tensors = {
        name: tensor.requires_grad_()
        for name, tensor in module_for(base, method, method.Config(), 9).items()
    }
    slotted = SlottedBase(base)
    with slotted.using(FixedSource(named("task", tensors))):
        slotted.model(**inputs_of(base)).logits.sum().backward()
    assert all(
        tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors.values()
    )
    assert all(parameter.grad is None for parameter in base.model.parameters())
