"""Checkpoints with heads that PEFT and `adapters` themselves save, and the models that saved them.

Their numbers are random and large, so that every module answers otherwise than its base.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
)

TOPICS = ("science", "sport", "travel")
ENTITIES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
LABELS = {"classify": TOPICS, "tag": ENTITIES}


@dataclass(frozen=True)
class Foreign:
    """How one library saves one kind of module with a head."""

    kind: str
    method: str
    save: Callable
    """Base folder, out, seed → the library's own model of it."""
    names_labels: bool = True


def randomise(model, names, seed, scale=0.3):
    """Draws the parameters whose names hold one of some strings; factors lie around 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if any(each in name for each in names):
            drawn = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data.copy_(drawn + 1 if "ia3_l" in name else drawn)
    return model.eval()


def without_module(model):
    """The same head on the bare base."""
    bare = copy.deepcopy(model)
    for name, parameter in bare.named_parameters():
        if any(each in name for each in ("lora_B", "adapter_up")):
            parameter.data.zero_()
        if "ia3_l" in name:
            parameter.data.fill_(1)
    return bare


def numbered(labels):
    return dict(enumerate(labels))


def flexible(kind, config, safe=True, **head):
    """AdapterHub's own heads."""

    def save(base, out, seed):
        from adapters import AutoAdapterModel

        torch.manual_seed(seed)
        model = AutoAdapterModel.from_pretrained(base, dtype=torch.float32)
        model.add_adapter("own", config=config)
        add = model.add_tagging_head if kind == "tag" else model.add_classification_head
        labels = LABELS[kind]
        add("own", num_labels=len(labels), id2label=numbered(labels), **head)
        model.set_active_adapters("own")
        randomise(model, (".adapters.own.", "heads.own."), seed)
        model.save_adapter(str(out), "own", with_head=True, use_safetensors=safe)
        return model

    return save


STATIC = {"classify": XLMRobertaForSequenceClassification, "tag": XLMRobertaForTokenClassification}


def static_model(base, kind, seed):
    torch.manual_seed(seed)
    labels = LABELS[kind]
    return STATIC[kind].from_pretrained(
        base,
        dtype=torch.float32,
        id2label=numbered(labels),
        label2id={label: place for place, label in enumerate(labels)},
    )


def static(kind, config):
    """Hugging Face's heads under an adapter of AdapterHub."""

    def save(base, out, seed):
        import adapters

        model = static_model(base, kind, seed)
        adapters.init(model)
        model.add_adapter("own", config=config)
        model.set_active_adapters("own")
        randomise(model, (".adapters.own.", "classifier."), seed)
        model.save_adapter(str(out), "own", with_head=True, use_safetensors=True)
        return model

    return save


def peft(kind, config):
    """Hugging Face's heads in PEFT's ``modules_to_save``."""

    def save(base, out, seed):
        from peft import get_peft_model

        task = "SEQ_CLS" if kind == "classify" else "TOKEN_CLS"
        settings = copy.deepcopy(config)
        settings.task_type = task
        model = get_peft_model(static_model(base, kind, seed), settings)
        randomise(model, ("lora_", "ia3_l", "modules_to_save"), seed)
        model.save_pretrained(out)
        return model

    return save


def peft_translator(base, out, config, seed, scale=0.2):
    from peft import get_peft_model

    inner = AutoModelForSeq2SeqLM.from_pretrained(base, dtype=torch.float32)
    settings = copy.deepcopy(config)
    settings.task_type = "SEQ_2_SEQ_LM"
    model = randomise(get_peft_model(inner, settings), ("lora_", "ia3_l"), seed, scale)
    model.save_pretrained(out)
    return model


def foreign():
    """Every way in which a head comes, by name."""
    from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
    from peft import IA3Config, LoraConfig

    lora = LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value"])
    wide = LoraConfig(r=5, lora_alpha=5, target_modules=["query", "output.dense"])
    ia3 = IA3Config(
        target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
    )
    sequential = SeqBnConfig(reduction_factor=4)
    double = DoubleSeqBnConfig(reduction_factor=8)
    return {
        "hub-topic": Foreign("classify", "bottleneck", flexible("classify", sequential)),
        "hub-flat": Foreign(
            "classify", "double_bottleneck", flexible("classify", double, safe=False, layers=1)
        ),
        "hub-static": Foreign("classify", "bottleneck", static("classify", sequential)),
        "hub-ner": Foreign(
            "tag", "parallel_bottleneck", flexible("tag", ParBnConfig(reduction_factor=8))
        ),
        "peft-topic": Foreign("classify", "lora", peft("classify", lora), names_labels=False),
        "peft-ia3": Foreign("classify", "ia3", peft("classify", ia3), names_labels=False),
        "peft-ner": Foreign("tag", "lora", peft("tag", wide), names_labels=False),
    }
