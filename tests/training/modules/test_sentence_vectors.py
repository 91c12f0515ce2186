"""A language module that learns vectors beside masked words comes nearer to the pivot's vectors."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from adaptation.architectures import load_base
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.errors import ConfigError
from tests.training.runs import QUICK, module_config
from training.data.corpus import read_pairs
from training.modules.module import train_module
from training.modules.settings import ModuleConfig

PAIRS = {"pairs": 4, "distil": 5.0, "contrast": 0.3, "tokens": 40}


def vectors(slotted, tokenizer, texts, tensors):
    found = []
    named = {f"language.{name}": tensor for name, tensor in tensors.items()}
    with torch.no_grad(), slotted.using(FixedSource(named)):
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=40)
            hidden = slotted.architecture.backbone(**inputs).last_hidden_state[0]
            found.append(torch.nn.functional.normalize(hidden.mean(0), dim=0))
    return torch.stack(found)


def test_translations_come_nearer(base, small_corpus, tmp_path):
    config = module_config(
        tmp_path, base, "mn", language="khk", corpus=small_corpus, score=False, vectors=PAIRS,
        optimisation=QUICK | {"steps": 40, "save_every": 0},
    )  # fmt: skip
    train_module(config)
    slotted = SlottedBase(load_base(base)).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    _, tensors = METHODS["bottleneck"].read(tmp_path / "mn" / "mn", slotted.architecture)
    pairs = read_pairs(small_corpus, "khk", "en", "train")[:12]
    own, pivot = zip(*pairs, strict=True)
    wanted = vectors(slotted, tokenizer, pivot, {})
    before, after = (
        float((vectors(slotted, tokenizer, own, each) * wanted).sum(1).mean())
        for each in ({}, tensors)
    )
    assert after > before + 0.01
    assert np.isfinite(after)


def test_vectors_need_a_language(base, small_corpus, tmp_path):
    config = module_config(
        tmp_path, base, "x", source="khk", target="eng", corpus=small_corpus, vectors=PAIRS
    )
    assert isinstance(config, ModuleConfig)
    with pytest.raises(ConfigError, match="`vectors` is for language modules of encoders"):
        config.checked()
