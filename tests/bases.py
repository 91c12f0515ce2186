"""Nano bases as folders on disk: a real tokenizer, random seeded weights, exported graphs."""

from pathlib import Path

import torch
from transformers import M2M100ForConditionalGeneration, XLMRobertaForMaskedLM

from adaptation.bases import describe_base
from tests.text import SENTENCES
from training.models.sizes import SHAPES, encoder_config, translator_config
from training.models.tokenizer import TokenizerConfig, assemble, learn_pieces, save_tokenizer

LANGUAGES = tuple(SENTENCES)


def make_tokenizer(folder: Path, kind: str) -> None:
    config = TokenizerConfig(
        corpus=folder,
        output=folder,
        kind=kind,
        vocabulary=600,
        language_tokens=LANGUAGES if kind == "translator" else (),
        max_length=64,
    )
    samples = {tag: list(lines) for tag, lines in SENTENCES.items()}
    save_tokenizer(assemble(learn_pieces(samples, config), config), config)


def make_base(folder: Path, kind: str, seed: int = 0):
    """A base whose weights are large enough for different rows to answer differently."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True)
    make_tokenizer(folder, kind)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    if kind == "encoder":
        model = XLMRobertaForMaskedLM(encoder_config(SHAPES["nano"], tokenizer, 0.0))
    else:
        model = M2M100ForConditionalGeneration(translator_config(SHAPES["nano"], tokenizer, 0.0))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "norm" not in name.lower():
            parameter.data.mul_(5.0)
    if kind == "translator":
        end_at_many_lengths(model, tokenizer.eos_token_id)
    model.half().save_pretrained(folder)
    return describe_base(folder, folder.name, LANGUAGES, "Apache-2.0")


def end_at_many_lengths(model, eos_id):
    """Lets the end token follow slow waves of the position, and rows differ more in the rest."""
    for name, parameter in model.named_parameters():
        if ".layers." in name and parameter.dim() == 2:
            parameter.data.mul_(2.0)
    end = model.get_input_embeddings().weight.data[eos_id]
    end.zero_()
    end[3:5] = 2.4
    model.model.decoder.layer_norm.bias.data[3:5] = -0.5
