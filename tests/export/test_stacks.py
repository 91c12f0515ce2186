"""Every language method under every task method, with nothing else loaded: graph against torch."""

from itertools import product

import numpy as np
import pytest
import torch

from adaptation.architectures import load_base
from adaptation.banks import stack_banks
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.sessions import opened
from langmod.specs import FP32_TOLERANCE, ROLES, GraphSpec
from tests.adaptation.models import module_for

INSIDE = [name for name in METHODS if name not in {"soft_prompt", "xpt"}]
"""Those that change what layers compute."""
STACKS = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [1, 1]])
"""``[B, 2]``: the first row is on the bare base, so that no row's own may be taken from it."""


@pytest.fixture(scope="module")
def served(tiny_encoder):
    folder = tiny_encoder / "onnx" / "fp32"
    session = opened(folder / "body.onnx")
    return SlottedBase(load_base(tiny_encoder)).eval(), session, GraphSpec.load(folder)


@pytest.mark.parametrize(("language", "task"), product(INSIDE, INSIDE))
def test_a_stack_answers_as_it_does_alone_in_torch(served, language, task):
    slotted, session, spec = served
    base = slotted.architecture
    modules = {
        role: module_for(base, METHODS[name], METHODS[name].Config(), seed)
        for seed, (role, name) in enumerate(zip(ROLES, (language, task), strict=True))
    }
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(5, 300, (len(STACKS), 6), generator=generator)
    expected = torch.stack(
        [alone(slotted, modules, each, row) for each, row in zip(STACKS, ids, strict=True)]
    )
    banks = stack_banks(spec.banks, list(modules.items()))
    feed = {
        "words": base.words(ids).detach().numpy(),
        "mask": np.ones(ids.shape, np.int64),
        "positions": np.tile(np.arange(6) + spec.base.first_position, (len(ids), 1)),
        "slots": STACKS.numpy(),
    }
    for bank in spec.banks:
        if bank.name in spec.graphs["body"].banks:
            shape = [2 if axis == f"S.{bank.role}" else 0 if isinstance(axis, str) else axis
                     for axis in bank.shape]  # fmt: skip
            feed[bank.name] = banks.get(bank.name, torch.zeros(shape)).numpy()
    found = torch.from_numpy(session.run(None, feed)[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=FP32_TOLERANCE)
    # Every stack is another answer, or a row that took its neighbour's would pass.
    rows = [alone(slotted, modules, each, ids[0]) for each in STACKS[:4]]
    apart = [(one - other).abs().max() for at, one in enumerate(rows) for other in rows[:at]]
    assert min(apart) > 10 * FP32_TOLERANCE


def alone(slotted, modules, stack, ids):
    """Hidden states ``[T, D]`` of one row in torch."""
    tensors = {
        f"{role}.{name}": tensor
        for role, slot in zip(ROLES, stack, strict=True)
        if slot
        for name, tensor in modules[role].items()
    }
    with torch.no_grad(), slotted.using(FixedSource(tensors)):
        return slotted.architecture.backbone(input_ids=ids.unsqueeze(0)).last_hidden_state[0]
