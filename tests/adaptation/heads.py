"""What is asked of a base, by ours and by Hugging Face's own heads: hidden states to answers."""

import numpy as np
import torch
from torch import nn
from transformers import BertModel, XLMRobertaModel
from transformers.models.bert.modeling_bert import BertPooler
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaClassificationHead

from langmod.tasks import TASKS as HEADS
from langmod.tasks.embed import unit

TASKS = {"fill_mask": "encoder", "embed": "encoder", "classify": "encoder", "tag": "encoder",
         "translate": "translator"}  # fmt: skip
"""Task → the kind of base that it is asked of."""
LABELS = 3


def states(model, inputs):
    """Hidden states at the tokens ``[B, T, D]`` (None of a translator) and logits ``[B, T, V]``."""
    kept = []
    backbones = [each for each in model.modules() if isinstance(each, XLMRobertaModel | BertModel)]
    handles = [
        each.register_forward_hook(lambda _, __, out: kept.append(out.last_hidden_state))
        for each in backbones
    ]
    found = model(**inputs)
    for each in handles:
        each.remove()
    # XPT's own layer comes after the base; what a library puts in front of a row is no token.
    own = found.last_hidden_state if hasattr(found, "entered") else kept[-1] if kept else None
    return None if own is None else own[:, -inputs["input_ids"].shape[1] :], found.logits


def drawn(shapes):
    """The same random tensors for both sides."""
    generator = torch.Generator().manual_seed(4)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def head_tensors(width):
    """Of both heads, by the names of our banks."""
    return drawn({
        "classify.dense_weight": (width, width), "classify.dense_bias": (width,),
        "classify.out_weight": (width, LABELS), "classify.out_bias": (LABELS,),
        "tag.out_weight": (width, LABELS), "tag.out_bias": (LABELS,),
    })  # fmt: skip


def our_answers(base, found):
    """Task → answers, from inputs, hidden states and logits, by langmod's own heads."""
    inputs, hidden, logits = found
    if base.kind == "translator":
        return {"translate": logits}
    mask = inputs["attention_mask"].bool()
    vectors = [
        unit(each[own].double().numpy().mean(axis=0))
        for each, own in zip(hidden, mask, strict=True)
    ]
    first = torch.zeros(hidden.shape[:2])
    first[:, 0] = 1
    own = {name: each.unsqueeze(0) for name, each in head_tensors(base.width).items()}
    with torch.no_grad():
        heads = {
            task: HEADS[task].head(
                hidden,
                first,
                {n.removeprefix(f"{task}."): t for n, t in own.items() if n.startswith(task)},
            )
            for task in ("classify", "tag")
        }
    return {"fill_mask": logits, "embed": torch.tensor(np.stack(vectors)).float(), **heads}


def library_answers(base, found):
    """The same by Hugging Face's heads with the same weights."""
    inputs, hidden, logits = found
    if base.kind == "translator":
        return {"translate": logits}
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    classify, tag = library_heads(base)
    with torch.no_grad():
        return {
            "fill_mask": logits,
            "embed": nn.functional.normalize(mean, dim=-1),
            "classify": classify(hidden),
            "tag": tag(hidden),
        }


def library_heads(base):
    """Of classification, as the family of the base has it, and of tagging."""
    config, tensors = base.model.config, head_tensors(base.width)
    config.num_labels = LABELS
    tag = linear(tensors, "tag.out")
    if config.model_type == "bert":
        pooler = BertPooler(config)
        pooler.dense = linear(tensors, "classify.dense")
        return nn.Sequential(pooler, linear(tensors, "classify.out")).eval(), tag
    head = XLMRobertaClassificationHead(config).eval()
    head.dense, head.out_proj = (linear(tensors, f"classify.{each}") for each in ("dense", "out"))
    return head, tag


def linear(tensors, name):
    weight, bias = tensors[f"{name}_weight"], tensors[f"{name}_bias"]
    made = nn.Linear(*weight.shape)
    made.load_state_dict({"weight": weight.T, "bias": bias})
    return made
