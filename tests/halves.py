"""A nano translator of two halves as a folder: two vocabularies, random seeded weights."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BlenderbotConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
)

from adaptation.architectures.layer_reader import LayerReaderConfig
from adaptation.bases import describe_base
from tests.bases import LANGUAGES, make_tokenizer
from tests.text import SENTENCES

END, START = "<|endoftext|>", "<|startoftranscript|>"


def make_target_tokenizer(folder):
    """Byte-level BPE with language tokens in Whisper's form."""
    special = [END, START, *(f"<|{tag}|>" for tag in LANGUAGES)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([line for lines in SENTENCES.values() for line in lines], trainer)
    tokenizer.add_special_tokens(special)
    (folder / "target").mkdir()
    tokenizer.save(str(folder / "target" / "tokenizer.json"))
    return tokenizer


def make_halves(folder, seed=0):
    """Its widths differ, and so do its answers to different rows."""
    folder.mkdir(parents=True)
    make_tokenizer(folder, "encoder")
    source, target = AutoTokenizer.from_pretrained(folder), make_target_tokenizer(folder)
    torch.manual_seed(seed)
    inner = BertConfig(
        vocab_size=len(source),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,  # as sentence encoders are published: the tokenizer says otherwise
    )
    end, start = target.token_to_id(END), target.token_to_id(START)
    decoder = BlenderbotConfig(
        vocab_size=target.get_vocab_size(),
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=96,
        max_position_embeddings=80,
        activation_function="gelu",
        scale_embedding=False,
        is_decoder=True,
        add_cross_attention=True,
        cross_attention_hidden_size=48,
        bos_token_id=start,
        pad_token_id=end,
        eos_token_id=end,
        forced_eos_token_id=None,
    )
    reader = LayerReaderConfig(inner.to_dict(), [2, 4], 48)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(reader, decoder)
    config.pad_token_id = config.eos_token_id = end
    config.decoder_start_token_id = start
    model = EncoderDecoderModel(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "norm" not in name.lower():
            parameter.data.mul_(5.0)
    model.half().save_pretrained(folder)
    return describe_base(folder, folder.name, LANGUAGES, "Apache-2.0")
