"""Checkpoints as the hub holds them: mBERT's and NLLB's forms go through the same code as ours."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, M2M100ForConditionalGeneration, NllbTokenizerFast

from adaptation import bases as bases_module
from adaptation.architectures import load_base
from adaptation.bases import describe_base, fetch_base, load_spec, resolve_base
from export.graph import export_graphs
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError
from langmod.sessions import opened
from langmod.specs import FP32_TOLERANCE
from tests.adaptation.models import bert, m2m100
from tests.halves import make_halves
from tests.text import SENTENCES

LINES = [line for lines in SENTENCES.values() for line in lines]


def make_mbert(folder):
    """WordPiece, `vocab.txt` only: the fast form has to be made."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    tokenizer.train_from_iterator(LINES, trainer)
    folder.mkdir()
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(token for token, _ in vocabulary) + "\n")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    model = bert().model
    model.resize_token_embeddings(len(vocabulary))
    model.save_pretrained(folder)
    return folder


def make_nllb(folder):
    """Language tokens in FLORES form, BPE in `tokenizer.json`."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn", "khk_Cyrl", "kor_Hang", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>", special_tokens=[("eng_Latn", 4), ("</s>", 2)]
    )
    fast = NllbTokenizerFast(tokenizer_object=tokenizer)  # adds the languages that are missing
    fast.save_pretrained(folder)
    config = m2m100().model.config
    config.vocab_size = len(fast)
    torch.manual_seed(0)
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_mbert_is_described_exported_and_read(tmp_path):
    folder = make_mbert(tmp_path / "mbert")
    spec = describe_base(folder, "mbert", ["mn", "kor"], "Apache-2.0")
    assert (spec.kind, spec.token_types, spec.first_position) == ("encoder", 2, 0)
    assert spec.languages == ("mn", "ko")
    assert spec.mask_token == "[MASK]"
    graphs = export_graphs(folder, "fp32")
    assert "token_types" in [each.name for each in graphs.graphs["body"].inputs]
    assert all(each.max_difference <= FP32_TOLERANCE for each in graphs.parity)
    encoder = TextEncoder(folder / "tokenizer.json", spec)
    theirs = BertTokenizerFast.from_pretrained(folder)
    pair = encoder.encode(SENTENCES["mn"][0], SENTENCES["ko"][0])
    expected = theirs(SENTENCES["mn"][0], SENTENCES["ko"][0])
    assert pair.token_ids.tolist() == expected["input_ids"]
    assert pair.type_ids.tolist() == expected["token_type_ids"]


def test_nllb_is_described_exported_and_read(tmp_path):
    folder = make_nllb(tmp_path / "nllb")
    tokens = {"mn": "khk_Cyrl", "en": "eng_Latn", "ko": "kor_Hang"}
    spec = describe_base(folder, "nllb", tokens, "CC-BY-NC-4.0")
    theirs = NllbTokenizerFast.from_pretrained(folder, src_lang="khk_Cyrl")
    assert spec.language_tokens["mn"] == theirs.convert_tokens_to_ids("khk_Cyrl")
    graphs = export_graphs(folder, "int8")
    assert set(graphs.graphs) == {"embed", "encoder", "decoder"}
    encoder = TextEncoder(folder / "tokenizer.json", spec)
    ours = encoder.encode_sentence(SENTENCES["mn"][0], "mn").token_ids
    assert ours.tolist() == theirs(SENTENCES["mn"][0])["input_ids"]
    session = opened(folder / "onnx" / "int8" / "embed.onnx")
    (words,) = session.run(None, {"token_ids": ours[None].astype(np.int64)})
    assert words.shape == (1, len(ours), spec.width)


def test_a_language_token_that_is_not_there_is_named(tmp_path):
    folder = make_nllb(tmp_path / "nllb")
    with pytest.raises(ConfigError, match=r"no language token for: kk"):
        describe_base(folder, "nllb", {"kk": "qaz_Cyrl"}, "CC-BY-NC-4.0")


def test_a_hub_id_is_copied_to_where_it_is_served(tmp_path, monkeypatch):
    snapshot = make_mbert(tmp_path / "snapshot")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(snapshot))
    folder = fetch_base("google-bert/bert-base-multilingual-cased", tmp_path / "models" / "mbert")
    assert folder == tmp_path / "models" / "mbert"
    describe_base(folder, "mbert", ["mn"], "Apache-2.0")
    assert load_spec(folder).name == "mbert"
    assert not (snapshot / bases_module.SPEC_FILE).exists()


def test_neither_folder_nor_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"neither a folder nor a reachable hub id"):
        resolve_base(str(tmp_path / "absent"))
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"no Hugging Face checkpoint"):
        load_base(folder)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_two_halves_are_described_and_exported(tmp_path, precision):
    spec = make_halves(tmp_path / "halves")
    assert (spec.kind, spec.width, spec.target_tokenizer) == (
        "translator",
        32,
        "target/tokenizer.json",
    )
    assert (spec.max_tokens, spec.longest_target) == (64, 80)
    graphs = export_graphs(tmp_path / "halves", precision)
    assert set(graphs.graphs) == {"embed", "encoder", "decoder"}
    widths = {bank.name: bank.shape for bank in graphs.banks}
    assert widths["language.bottleneck.encoder.up_bias"][-1] == 32
    assert widths["language.bottleneck.decoder.up_bias"][-1] == 48
