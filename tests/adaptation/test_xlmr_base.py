"""XLM-R base's own shape: LoRA and a bottleneck in one batch, in torch and in the exported body."""

import numpy as np
import pytest
import torch
from transformers import XLMRobertaModel

from adaptation.banks import stack_banks
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from export import graph as graph_stage
from export.encoder_graphs import Body
from langmod.sessions import opened
from langmod.specs import FP32_TOLERANCE
from tests.adaptation.models import inputs_of, module_for, xlmr
from tests.adaptation.references import adapters_model, peft_model

SHAPE = {
    "vocab_size": 1000,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "layer_norm_eps": 1e-5,
}
"""facebook/xlm-roberta-base but for its 250,002 words."""
MODULES = {
    "lora": (METHODS["lora"].Config(r=8, lora_alpha=16), 0.05, peft_model),
    "bottleneck": (METHODS["bottleneck"].Config(), 0.05, adapters_model),
}


def hidden_states(model, inputs):
    """Of each row alone, ``[B, T, D]``."""
    (backbone,) = (each for each in model.modules() if isinstance(each, XLMRobertaModel))
    rows = []
    with torch.no_grad():
        for row in range(len(inputs["input_ids"])):
            one = {key: each[row : row + 1] for key, each in inputs.items()}
            rows.append(forward(model, backbone, one))
    return torch.cat(rows)


def forward(model, backbone, inputs):
    """Through the whole model, whose wrappers set what runs inside."""
    kept = []
    handle = backbone.register_forward_hook(lambda _, __, out: kept.append(out.last_hidden_state))
    model(**inputs)
    handle.remove()
    return kept[0]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The base, its modules' tensors, a batch, and every answer of the libraries to it."""
    place = tmp_path_factory.mktemp("shape")
    base = xlmr(**SHAPE)
    inputs = inputs_of(base, rows=4, tokens=16)
    modules, expected = {}, {"bare": hidden_states(base.model, inputs)}
    for seed, (name, (config, scale, library)) in enumerate(MODULES.items()):
        method = METHODS[name]
        drawn = module_for(base, method, config, seed)
        modules[name] = {
            key: each * scale if each.is_floating_point() else each for key, each in drawn.items()
        }
        method.write(place / name, config, modules[name], base)
        expected[name] = hidden_states(library(xlmr(**SHAPE), place / name), inputs)
    return base, modules, inputs, expected


def test_every_row_is_the_librarys_own(case, tmp_path, monkeypatch):
    base, modules, inputs, expected = case
    for one, other in (("bare", "lora"), ("bare", "bottleneck"), ("lora", "bottleneck")):
        assert (expected[one] - expected[other]).abs().max() > 1e-2, (one, other)
    graph = Body(SlottedBase(base))
    wanted = ["lora", "bottleneck", "bare", "lora"]
    slots = {"lora": [1, 0], "bottleneck": [0, 1], "bare": [0, 0]}
    banks = stack_banks(
        graph.banks, [("language", modules["lora"]), ("task", modules["bottleneck"])]
    )
    empty = {
        bank.name: torch.zeros([2 if each == f"S.{bank.role}" else 0 if isinstance(each, str)
                                else each for each in bank.shape])
        for bank in graph.banks
    }  # fmt: skip
    shape = inputs["input_ids"].shape
    feed = {
        "words": base.words(inputs["input_ids"]).detach(),
        "mask": inputs["attention_mask"],
        "positions": (torch.arange(shape[1]) + base.first_position).expand(shape),
        "slots": torch.tensor([slots[each] for each in wanted]),
        **empty,
        **banks,
    }
    theirs = torch.stack([expected[name][row] for row, name in enumerate(wanted)])
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        ours = graph(feed)["hidden"]
    torch.testing.assert_close(ours[real], theirs[real], rtol=0, atol=FP32_TOLERANCE)
    # torch checks its own graph after each of its passes, which takes most of an export's time.
    monkeypatch.setattr(torch._C, "_jit_pass_lint", lambda graph: None)
    path = tmp_path / "body.onnx"
    graph_stage.export_file(graph, path, "fp32")
    session = opened(path)
    taken = {each.name for each in session.get_inputs()}
    (served,) = session.run(None, {k: v.numpy() for k, v in feed.items() if k in taken})
    np.testing.assert_allclose(served[real], theirs[real], rtol=0, atol=FP32_TOLERANCE)
