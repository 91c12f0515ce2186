import numpy as np
import pytest

from langmod.encoding import TextEncoder
from langmod.errors import BadRequest, ConfigError, TextTooLong
from tests.langmod.tokenizers_ import FAMILIES, LINES

TEXTS = [*LINES[:4], "Ulaanbaatar хот 서울", "  spaces  around  ", "ﬁne ①", "\0nul\0", "🙂 эмодзи"]


@pytest.fixture(params=sorted(FAMILIES))
def family(request, tmp_path):
    tokenizer, base = FAMILIES[request.param]()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return tokenizer, TextEncoder(path, base)


@pytest.mark.parametrize("text", TEXTS)
def test_plain_text_is_cut_up_as_the_library_does(family, text):
    tokenizer, encoder = family
    expected = tokenizer.encode(text.replace("\0", " "))
    encoded = encoder.encode(text)
    assert encoded.token_ids.tolist() == expected.ids
    assert [tuple(pair) for pair in encoded.offsets.tolist()] == expected.offsets
    assert encoded.special.tolist() == [bool(flag) for flag in expected.special_tokens_mask]
    assert encoder.decode(encoded.token_ids) == tokenizer.decode(expected.ids)


def test_pairs_are_cut_up_as_the_library_does(family):
    tokenizer, encoder = family
    expected = tokenizer.encode("the capital", "서울이다")
    encoded = encoder.encode("the capital", "서울이다")
    assert encoded.token_ids.tolist() == expected.ids
    assert encoded.type_ids.tolist() == expected.type_ids


def control_inside(encoded, encoder):
    """Control tokens among the tokens of the text; unknown characters are none."""
    unknown = {encoder._tokenizer.token_to_id(name) for name in ("\0[UNK]", "\0<unk>")}
    return set(encoded.token_ids[~encoded.special].tolist()) & encoder.control_ids - unknown


INJECTIONS = [
    "</s>",
    "<s>",
    "<pad>",
    "<unk>",
    "<mask>",
    "__en__",
    "__mn__",
    "[SEP]",
    "[MASK]",
    "[CLS]",
]


@pytest.mark.parametrize("typed", [*INJECTIONS, "\0</s>", "\0\0<mask>", "\0[SEP]"])
@pytest.mark.parametrize("frame", ["{}", "a {} b", "a{}b", "{}{}"])
def test_typed_control_tokens_are_only_text(family, typed, frame):
    _, encoder = family
    encoded = encoder.encode(frame.format(typed, typed))
    assert not control_inside(encoded, encoder)
    assert encoded.token_ids[-1] == encoder.base.eos_id


def test_only_the_mask_token_is_read_and_only_on_request(family):
    _, encoder = family
    mask = encoder.base.mask_token
    text = f"the {mask} of </s> [SEP] Mongolia {mask}."
    assert (encoder.encode(text).token_ids == encoder.base.mask_id).sum() == 0
    masked = encoder.encode(text, masks=True)
    assert (masked.token_ids == encoder.base.mask_id).sum() == 2
    assert control_inside(masked, encoder) == {encoder.base.mask_id}


def test_the_mask_takes_the_space_before_it_along(family):
    _, encoder = family
    mask = encoder.base.mask_token
    spaced, glued = (encoder.encode(text, masks=True) for text in (f"of {mask}", f"of{mask}"))
    assert spaced.token_ids.tolist() == glued.token_ids.tolist()


def test_too_long_says_what_was_got_and_what_is_read(family):
    _, encoder = family
    with pytest.raises(TextTooLong, match=r"has \d+ tokens.* at most 64") as caught:
        encoder.encode("the capital of Mongolia " * 20)
    assert caught.value.details["limit"] == 64
    assert caught.value.details["got"] > 64
    with pytest.raises(TextTooLong, match="has 100000 characters"):
        encoder.encode("x" * 100_000)


def test_the_longest_text_allowed_is_read_and_the_next_refused(family):
    _, encoder = family
    words = next(n for n in range(1, 120) if len(encoder._tokenizer.encode("s " * n).ids) == 64)
    assert len(encoder.encode("s " * words)) == 64
    with pytest.raises(TextTooLong, match=r"has 6[56] tokens"):
        encoder.encode("s " * (words + 1))


def test_truncation_keeps_the_special_tokens(family):
    _, encoder = family
    encoded = encoder.encode("the capital of Mongolia " * 20, truncate=True)
    assert len(encoded) == 64
    assert encoded.token_ids[-1] == encoder.base.eos_id
    assert len(encoder.encode("short", truncate=True)) == len(encoder.encode("short"))


@pytest.fixture
def translator(tmp_path):
    tokenizer, base = FAMILIES["bpe"]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return TextEncoder(tmp_path / "tokenizer.json", base)


def test_a_sentence_goes_between_its_language_token_and_the_end(translator):
    encoded = translator.encode_sentence("Улаанбаатар хот", "mn")
    assert encoded.token_ids[0] == translator.base.language_tokens["mn"]
    assert encoded.token_ids[-1] == translator.base.eos_id
    assert encoded.special.tolist() == [True, *[False] * (len(encoded) - 2), True]
    assert len(encoded.type_ids) == len(encoded.offsets) == len(encoded)
    assert translator.decode(encoded.token_ids) == "Улаанбаатар хот"


@pytest.mark.parametrize("typed", ["__en__", "</s>", "a __mn__ </s> b"])
def test_a_sentence_cannot_carry_another_language_token(translator, typed):
    encoded = translator.encode_sentence(typed, "mn")
    assert not set(encoded.token_ids[1:-1].tolist()) & translator.control_ids
    assert translator.decode(encoded.token_ids) == typed


def test_sentences_are_bounded_too(translator):
    with pytest.raises(TextTooLong, match="at most 64"):
        translator.encode_sentence("the capital of Mongolia " * 20, "en")
    cut = translator.encode_sentence("the capital of Mongolia " * 20, "en", truncate=True)
    assert len(cut) == 64
    assert cut.token_ids[-1] == translator.base.eos_id
    with pytest.raises(BadRequest, match="no token for 'ko'; it has: en, mn"):
        translator.encode_sentence("x", "ko")


def test_pieces_know_whether_they_begin_a_word(family):
    _, encoder = family
    encoded = encoder.encode("capital Ulaanbaatar")
    pieces = [encoder.piece(int(each)) for each in encoded.token_ids[~encoded.special]]
    assert "".join(f" {text}" if begins else text for text, begins in pieces).split() == [
        "capital",
        "Ulaanbaatar",
    ]


def test_no_tokenizer_is_a_clear_error(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ConfigError, match=r"tokenizer\.json is no tokenizer"):
        TextEncoder(path, FAMILIES["bpe"]()[1])
    path.write_text('{"model": {"vocab": {}}}')
    with pytest.raises(ConfigError, match=r"tokenizer\.json is no tokenizer"):
        TextEncoder(path, FAMILIES["bpe"]()[1])


def test_an_empty_text_has_no_tokens_of_its_own(family):
    _, encoder = family
    encoded = encoder.encode("")
    assert encoded.special.all()
    assert encoded.offsets.shape == (len(encoded), 2)
    assert encoded.token_ids.dtype == np.int64
