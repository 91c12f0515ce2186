"""What goes into a vocabulary comes out again, and the folder is what Hugging Face reads."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from langmod.errors import ConfigError, DataError
from tests.text import SENTENCES
from training.data.corpus import read_text
from training.models.tokenizer import (
    BYTES,
    TokenizerCard,
    TokenizerConfig,
    covering_alphabet,
    learn_pieces,
    train_tokenizer,
)

CONFIGS = sorted((Path(__file__).parents[3] / "training" / "configs").glob("tokenizer-*.yaml"))
NANO = next(path for path in CONFIGS if path.stem == "tokenizer-nano")


@pytest.fixture(scope="module")
def folders(small_corpus, tmp_path_factory) -> dict[str, Path]:
    """A vocabulary of each kind."""
    made = {}
    for kind in ("encoder", "translator"):
        made[kind] = tmp_path_factory.mktemp(kind)
        overrides = [f"corpus={small_corpus}", f"output={made[kind]}", f"kind={kind}"]
        overrides += ["language_tokens=[eng,khk]"] if kind == "translator" else []
        train_tokenizer(TokenizerConfig.load(NANO, overrides))
    return made


@pytest.fixture(scope="module")
def encoder(folders) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folders["encoder"])


@pytest.fixture(scope="module")
def translator(folders) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folders["translator"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load(path):
    assert TokenizerConfig.load(path).vocabulary >= 600


def test_order_of_tokens(encoder, translator):
    assert encoder.convert_ids_to_tokens([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert encoder.convert_ids_to_tokens(list(range(4, 260))) == list(BYTES)
    for tokenizer in (encoder, translator):
        assert len(tokenizer) == 800 == tokenizer.mask_token_id + 1
    languages = [translator.mask_token_id - 2, translator.mask_token_id - 1]
    assert translator.convert_ids_to_tokens(languages) == ["__en__", "__mn__"]


# A first space is the one the model itself puts before a word; "▁" is how it writes spaces.
ROUND_TRIP = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")).filter(
    lambda text: not unicodedata.normalize("NFKC", text).startswith(" ")
)


@given(text=ROUND_TRIP)
def test_any_text_comes_back(encoder, text):
    # The library's table of NFKC is older than Python's where characters are new.
    normal = encoder.backend_tokenizer.normalizer.normalize_str(text)
    assert encoder.decode(encoder.encode(text), skip_special_tokens=True) == normal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b ", "a  b "),
        ("  a", " a"),
        ("ﬁ ①", "fi 1"),
        ("ሀሎ 😀!", "ሀሎ 😀!"),
        ("<0x41> </a>", "<0x41> </a>"),
        ("", ""),
    ],
)
def test_round_trip_table(encoder, text, expected):
    assert encoder.decode(encoder.encode(text), skip_special_tokens=True) == expected


def test_dev_text_comes_back_and_nothing_is_unknown(encoder, small_corpus):
    for tag in ("en", "ko", "mn"):
        for text in read_text(small_corpus, tag, "dev"):
            ids = encoder.encode(text)
            assert encoder.unk_token_id not in ids
            expected = unicodedata.normalize("NFKC", text)
            assert encoder.decode(ids, skip_special_tokens=True) == expected


def test_what_surrounds_a_text(encoder, translator):
    def tokens(tokenizer, *texts):
        joined = " ".join(tokenizer.convert_ids_to_tokens(tokenizer(*texts)["input_ids"]))
        return joined.replace("▁ ", "")

    assert tokens(encoder, "1") == "<s> 1 </s>"
    assert tokens(encoder, "1", "2") == "<s> 1 </s> </s> 2 </s>"
    assert tokens(translator, "1") == "1 </s>"
    assert tokens(translator, "__mn__ 1").startswith("__mn__ ")


def test_mask_takes_the_space_before_it(encoder):
    with_space, without = encoder.encode("1 <mask> 2"), encoder.encode("1<mask> 2")
    assert with_space == without
    assert encoder.mask_token_id in with_space


def test_digits_stand_alone(encoder):
    assert [token.strip("▁") for token in encoder.tokenize("2023")][-4:] == ["2", "0", "2", "3"]


@pytest.mark.parametrize("text", ["ула ﬁ ሀ 1", "é  한국 á!"])
def test_offsets_point_into_the_text_as_given(encoder, text):
    encoding = encoder(text, return_offsets_mapping=True, add_special_tokens=False)
    offsets = encoding["offset_mapping"]
    covered = {position for start, end in offsets for position in range(start, end)}
    assert covered == set(range(len(text)))
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)


def test_card(folders, small_corpus):
    text = (folders["encoder"] / "card.json").read_text("utf-8")
    card = TokenizerCard.model_validate_json(text)
    assert [report.language for report in card.languages] == ["en", "ko", "mn"]
    assert all(report.unknown_rate == 0 for report in card.languages)
    assert all(report.tokens_per_word > 1 for report in card.languages)
    assert "mn " in card.table()


def test_temperature_evens_the_languages(small_corpus, tmp_path):
    def sampled(exponent):
        overrides = [f"corpus={small_corpus}", f"output={tmp_path}", f"exponent={exponent}"]
        overrides.append("sample_characters=9000")
        return train_tokenizer(TokenizerConfig.load(NANO, overrides)).sampled_characters

    even, proportional = sampled(0.0), sampled(1.0)
    assert max(even.values()) - min(even.values()) < 200
    assert max(proportional.values()) - min(proportional.values()) > 200


def test_the_same_text_makes_the_same_vocabulary(tmp_path):
    """Characters of one count, of which only some find room, are drawn in no random order."""
    config = TokenizerConfig(corpus=tmp_path, output=tmp_path, kind="encoder", vocabulary=600)
    samples = {tag: list(lines) for tag, lines in SENTENCES.items()}
    first, *others = (Tokenizer(learn_pieces(samples, config)).to_str() for _ in range(4))
    assert others == [first] * 3


def test_the_alphabet_covers_a_share_of_the_text():
    assert covering_alphabet(["aab b", "ccd"], 6 / 8) == ["a", "b", "c"]
    assert covering_alphabet(["ab b"], 1) == ["b", "a", "▁"]


def test_limits(small_corpus, tmp_path):
    overrides = [f"corpus={small_corpus}", f"output={tmp_path / 'out'}"]
    overrides += ["limits.tokens_per_word=1.0", "limits.tokens_per_character=0.1"]
    match = r"en: tokens_per_character .* > 0.1.*mn: tokens_per_word .* > 1.0.*raise vocabulary"
    with pytest.raises(ConfigError, match=match):
        train_tokenizer(TokenizerConfig.load(NANO, overrides))
    assert not (tmp_path / "out").exists()


def test_unknown_language(small_corpus, tmp_path):
    overrides = [f"corpus={small_corpus}", f"output={tmp_path}", "languages=[tur]"]
    with pytest.raises(DataError, match=r"no such text; the corpus has en, ko, mn"):
        train_tokenizer(TokenizerConfig.load(NANO, overrides))
