"""More pieces for a decoder: English is cut as before, the others into fewer, bytes stay."""

import json

import pytest
import torch
from tokenizers import Tokenizer

from tests.halves import END, START, make_halves
from tests.text import SENTENCES
from training.models.added_pieces import PiecesConfig, add_pieces, without
from training.models.halves import load_halves

ODD = ["🙂 ᠮᠣᠩᠭᠣᠯ", "नमस्ते दुनिया", "\u0001 �"]


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    place = tmp_path_factory.mktemp("pieces")
    make_halves(place / "small")
    for tag, lines in SENTENCES.items():
        folder = place / "corpus" / "text" / tag
        folder.mkdir(parents=True)
        (folder / "train.txt").write_text("\n".join(lines * 6) + "\n", "utf-8")
    last = max(Tokenizer.from_file(str(place / "small/target/tokenizer.json")).get_vocab().values())
    config = PiecesConfig(
        name="large",
        base=place / "small",
        corpus=place / "corpus",
        languages=("mn", "ko"),
        pieces=120,
        lines=200,
        tags={"yo": "mn", "mn": "ko"},
        last_kept=last,
        out=place / "large",
    )
    add_pieces(config)
    return config


def target_of(folder):
    return Tokenizer.from_file(str(folder / "target" / "tokenizer.json"))


def test_the_kept_language_is_cut_as_before_and_others_into_fewer(grown):
    before, after = target_of(grown.base), target_of(grown.out)
    for text in SENTENCES["en"]:
        assert after.encode(text).ids == before.encode(text).ids
    for tag in ("mn", "ko"):
        fewer = [len(after.encode(text)) - len(before.encode(text)) for text in SENTENCES[tag]]
        assert all(each <= 0 for each in fewer)
        assert sum(fewer) < 0
    assert 0 < after.get_vocab_size() - before.get_vocab_size() <= 121
    assert sorted(after.get_vocab().values()) == list(range(after.get_vocab_size()))


@pytest.mark.parametrize("text", [*ODD, *SENTENCES["mn"], *SENTENCES["ko"]])
def test_every_text_comes_back_whole(grown, text):
    after = target_of(grown.out)
    assert after.decode(after.encode(text).ids) == text


def test_new_pieces_start_from_the_mean_of_what_they_were(grown):
    (small, _, before), (large, _, after) = load_halves(grown.base), load_halves(grown.out)
    old = small.decoder.get_input_embeddings().weight
    new = large.decoder.get_input_embeddings().weight
    assert torch.equal(new[: len(old)], old)
    vocabulary = after.get_vocab(with_added_tokens=False)
    names = {name for name, number in vocabulary.items() if number > grown.last_kept}
    shown = 0
    for left, right in json.loads(after.to_str())["model"]["merges"]:
        if left + right in names and names.isdisjoint({left, right}):
            mean = old[[vocabulary[left], vocabulary[right]]].mean(0)
            torch.testing.assert_close(new[vocabulary[left + right]], mean)
            shown += 1
    assert shown > 5
    added = after.token_to_id("<|yo|>")
    assert torch.equal(new[added], old[before.token_to_id("<|mn|>")])
    assert after.token_to_id("<|mn|>") == before.token_to_id("<|mn|>")
    assert large.decoder.lm_head.weight.data_ptr() == new.data_ptr()


def test_what_it_says_with_the_old_pieces_is_what_it_said(grown):
    (small, source, before), (large, _, _) = load_halves(grown.base), load_halves(grown.out)
    ids = torch.tensor([source.encode(SENTENCES["mn"][0]).ids])
    said = torch.tensor([[before.token_to_id(START), before.token_to_id("<|en|>"), 5, 9]])
    with torch.no_grad():
        one, other = (m(input_ids=ids, decoder_input_ids=said).logits for m in (small, large))
    torch.testing.assert_close(other[..., : one.shape[-1]], one)
    assert before.token_to_id(END) < one.shape[-1] < other.shape[-1]


def test_what_is_made_of_a_dropped_piece_goes_too():
    merges = [("a", "b"), ("c", "d"), ("ab", "cd"), ("abcd", "e"), ("c", "e")]
    assert without(merges, {"ab"}) == [("c", "d"), ("c", "e")]
