"""Tiny seeded bases built from their configs: two layers, no files, no network."""

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BlenderbotConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    M2M100Config,
    M2M100ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from adaptation.architectures import (
    Architecture,
    EncoderArchitecture,
    M2M100Architecture,
    TranslatorArchitecture,
)
from adaptation.architectures.halves import HalvesArchitecture
from adaptation.architectures.layer_reader import LayerReaderConfig

VOCABULARY = 200


def spread(model):
    """Moves biases and norms off the zeros and ones that they begin with."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += torch.randn(parameter.shape) * 0.05
    return model.eval()


def xlmr(seed: int = 0, **changes) -> EncoderArchitecture:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "type_vocab_size": 1,
    }
    return EncoderArchitecture(
        spread(XLMRobertaForMaskedLM(XLMRobertaConfig(**settings | changes)))
    )


def bert(seed: int = 0) -> EncoderArchitecture:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    return EncoderArchitecture(spread(BertForMaskedLM(config)))


def m2m100(seed: int = 0) -> TranslatorArchitecture:
    torch.manual_seed(seed)
    config = M2M100Config(
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    return M2M100Architecture(spread(M2M100ForConditionalGeneration(config)))


def halves(seed: int = 0) -> TranslatorArchitecture:
    """An encoder and a decoder of unlike widths, with a map over two of the encoder's layers."""
    torch.manual_seed(seed)
    reader = LayerReaderConfig(bert().model.config.to_dict(), [1, 2], 48)
    decoder = BlenderbotConfig(
        vocab_size=VOCABULARY,
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        scale_embedding=False,
        is_decoder=True,
        add_cross_attention=True,
        cross_attention_hidden_size=48,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        forced_eos_token_id=None,
    )
    config = EncoderDecoderConfig.from_encoder_decoder_configs(reader, decoder)
    config.pad_token_id, config.eos_token_id, config.decoder_start_token_id = 1, 2, 0
    return HalvesArchitecture(spread(EncoderDecoderModel(config)))


BASES: dict[str, type[Architecture] | object] = {
    "xlmr": xlmr,
    "bert": bert,
    "m2m100": m2m100,
    "halves": halves,
}


def strong(make):
    """A tiny base that attends to some positions more than to others."""
    base = make()
    for parameter in base.model.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(6)
    return base


def inputs_of(base: Architecture, seed: int = 1, rows: int = 4, tokens: int = 9):
    """Random rows of different lengths as keyword arguments of the Hugging Face forward."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, tokens - row :] = 0
    ids = ids.masked_fill(mask == 0, 1)
    found = {"input_ids": ids, "attention_mask": mask}
    if base.kind == "translator":
        found["decoder_input_ids"] = torch.randint(5, VOCABULARY, (rows, 5), generator=generator)
    return found


SCALES = {"ia3": 1.5, "bitfit": 0.5}
"""Method → how far its numbers lie from zero, so that answers of a tiny base change."""


def module_for(base: Architecture, method, config, seed: int):
    """A module's tensors drawn large enough to change answers; settings stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    scale = SCALES.get(method.name, 0.2)
    return {
        name: torch.randn(tensor.shape, generator=generator) * scale
        if tensor.is_floating_point()
        else tensor
        for name, tensor in method.fresh(config, base, generator).items()
    }
