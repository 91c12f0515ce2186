"""``training pieces``: a decoder gets more pieces, for languages that its own cut to bits.

Byte-pair encoding goes on from where the decoder's stopped: its merges stay, in their order, and
merges learned on other languages' text follow them. A merge that ever fires in the corpus' English
is left out, so that this English is cut exactly as before. Each new piece starts from the mean of
the pieces it was cut into (fast vocabulary transfer: Gee et al. 2022, arXiv 2402.09977), and bytes
are there for everything else, as before.
"""

import json
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import EncoderDecoderModel

from adaptation.bases import TARGET_TOKENIZER
from langmod.config import RunConfig
from langmod.languages import canonical
from training.data.corpus import read_text
from training.data.sampling import draws_per_language
from training.models.halves import load_halves, load_learned

FIRST_PRIVATE = 0xF0000
"""Where Unicode's private planes begin: each piece is one character there while merges are learned,
since the trainer of the library begins from characters."""
PRIVATE_PLANE = 0xFFFE
"""Characters of one private plane; its last two are none."""
MARKS = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's way to cut text into words, with a letter's combining marks beside the letter: as it was,
Devanagari fell apart at each vowel sign. English has none, so that nothing changes there."""


class PiecesConfig(RunConfig):
    """One run of ``training pieces``."""

    name: str
    base: Path
    """A translator of two halves."""
    start_from: Path | None = None
    """Weights by name that are loaded over the base's first."""
    corpus: Path
    languages: tuple[str, ...]
    """Whose text the new pieces are learned on."""
    kept_language: str = "en"
    """The language whose text is cut as before."""
    pieces: int = Field(default=16_000, ge=1)
    lines: int = 500_000
    """Of text that pieces are learned on, all languages together."""
    exponent: float = Field(default=0.4, ge=0, le=1)
    """A language's share of them: by its lines to this power."""
    tags: Mapping[str, str] = Field(default_factory=dict)
    """Language that gets a token → the language whose token its vector starts from."""
    last_kept: int
    """Id of the last token that stays; those behind it (timestamps) go."""
    out: Path
    seed: int = 1


def add_pieces(config: PiecesConfig) -> Path:
    """Writes the translator with more pieces; what it says with the old ones stays the same.

    Raises:
        ConfigError: a base that is no translator of two halves, or weights that it has not.
        DataError: a corpus without the languages asked for.
    """
    translator, _, target = load_halves(config.base)
    if config.start_from is not None:
        load_learned(translator, config.start_from)
    content = trimmed(json.loads(target.to_str()), config.last_kept)
    merges = learned_merges(content, list(sample_text(config)), config)
    add_language_tokens(content, config.tags)
    add_merges(content, merges)
    extended = Tokenizer.from_str(json.dumps(content))
    grow_words(translator, word_vectors(translator, target, extended, config))
    shutil.copytree(
        config.base, config.out, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True
    )
    translator.save_pretrained(config.out)
    extended.save(str(config.out / TARGET_TOKENIZER))
    return config.out


def sample_text(config: PiecesConfig) -> Iterator[str]:
    """Lines of every language, the small ones more often than their share."""
    texts = {
        tag: read_text(config.corpus, tag, "train") for tag in map(canonical, config.languages)
    }
    sizes = {tag: len(lines) for tag, lines in texts.items()}
    counts = draws_per_language(sizes, config.lines, config.exponent, epoch_cap=5.0)
    draw = random.Random(config.seed)
    for tag, count in counts.items():
        whole, part = divmod(count, sizes[tag])
        yield from texts[tag] * whole
        yield from draw.sample(texts[tag], part)


def trimmed(content: dict[str, Any], last_kept: int) -> dict[str, Any]:
    """A tokenizer's JSON without added tokens behind an id; its words keep their marks."""
    content["added_tokens"] = [each for each in content["added_tokens"] if each["id"] <= last_kept]
    for each in content["added_tokens"]:
        know_as_piece(content, each)
    split = {"type": "Split", "pattern": {"Regex": MARKS}, "behavior": "Isolated", "invert": False}
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
    content["post_processor"] = None
    return content


def know_as_piece(content: dict[str, Any], added: Mapping[str, Any]) -> None:
    """Names an added token among the pieces, as the library counts those that are not anew."""
    content["model"]["vocab"][added["content"]] = added["id"]


def learned_merges(
    content: dict[str, Any], texts: Sequence[str], config: PiecesConfig
) -> list[tuple[str, str]]:
    """New merges in their order, none of which fires in the text of the kept language."""
    before = Tokenizer.from_str(json.dumps(content))
    merges = continued_merges(before, texts, config.pieces * 3 // 2)
    kept = read_text(config.corpus, config.kept_language, "train")
    while fired := firing(content, merges, kept):
        merges = without(merges, fired)
    return merges[: config.pieces]


def continued_merges(before: Tokenizer, texts: Iterable[str], size: int) -> list[tuple[str, str]]:
    """The merges that byte-pair encoding would do next on some text, most frequent first."""
    names = {private(number): name for name, number in before.get_vocab().items()}
    trainee = Tokenizer(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    seen: set[str] = set()
    lines = list(spelled(before, texts, seen))
    trainer = trainers.BpeTrainer(
        vocab_size=len(seen) + size, min_frequency=5, show_progress=False, initial_alphabet=[]
    )
    trainee.train_from_iterator(lines, trainer)
    found = json.loads(trainee.to_str())["model"]["merges"]
    return [(piece_of(left, names), piece_of(right, names)) for left, right in found]


def piece_of(characters: str, names: Mapping[str, str]) -> str:
    """The piece that private characters stand for, side by side."""
    return "".join(names[each] for each in characters)


def spelled(before: Tokenizer, texts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Lines in which each piece is one private character and words are parted by spaces."""
    for encoding in before.encode_batch(list(texts), add_special_tokens=False):
        words: dict[int | None, list[str]] = {}
        for number, word in zip(encoding.ids, encoding.word_ids, strict=True):
            words.setdefault(word, []).append(private(number))
        seen.update(char for word in words.values() for char in word)
        yield " ".join("".join(word) for word in words.values())


def private(number: int) -> str:
    """The private character that stands for a piece."""
    plane, place = divmod(number, PRIVATE_PLANE)
    return chr(FIRST_PRIVATE + plane * 0x10000 + place)


def firing(
    content: Mapping[str, Any], merges: Sequence[tuple[str, str]], texts: Sequence[str]
) -> set[str]:
    """Which of the pieces that merges make are ever used for some text."""
    changed = json.loads(json.dumps(content))
    known = set(changed["model"]["vocab"])
    add_merges(changed, merges)
    after = Tokenizer.from_str(json.dumps(changed))
    new = {number: name for name, number in after.get_vocab().items() if name not in known}
    used: set[str] = set()
    for encoding in after.encode_batch(list(texts), add_special_tokens=False):
        used.update(new[number] for number in encoding.ids if number in new)
    return used


def without(merges: Sequence[tuple[str, str]], pieces: set[str]) -> list[tuple[str, str]]:
    """Merges that make none of some pieces, nor anything out of them."""
    gone, kept = set(pieces), []
    for left, right in merges:
        if left in gone or right in gone or left + right in gone:
            gone.add(left + right)
        else:
            kept.append((left, right))
    return kept


def add_language_tokens(content: dict[str, Any], tags: Mapping[str, str]) -> None:
    """Puts a language token behind the last id for each language that has none."""
    known = {each["content"] for each in content["added_tokens"]}
    for tag in map(canonical, tags):
        if f"<|{tag}|>" not in known:
            flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            added = {"id": next_id(content), "content": f"<|{tag}|>", "special": True, **flags}
            know_as_piece(content, added)
            content["added_tokens"].append(added)


def add_merges(content: dict[str, Any], merges: Iterable[tuple[str, str]]) -> None:
    """Puts merges behind those there are, and the pieces they make behind the last id."""
    model, number = content["model"], next_id(content)
    for left, right in merges:
        model["merges"].append([left, right])
        if left + right not in model["vocab"]:
            model["vocab"][left + right] = number
            number += 1


def next_id(content: Mapping[str, Any]) -> int:
    """The first id that no token has."""
    added = (each["id"] for each in content["added_tokens"])
    return 1 + max(*added, *content["model"]["vocab"].values())


def word_vectors(
    translator: EncoderDecoderModel, before: Tokenizer, after: Tokenizer, config: PiecesConfig
) -> Tensor:
    """Vectors ``[V, D]`` of all tokens: old ones as they are, new ones from what they were."""
    old = translator.decoder.get_input_embeddings().weight.data  # [V0, D]
    vocabulary = after.get_vocab(with_added_tokens=False)
    found = old.new_zeros(after.get_vocab_size(), old.shape[1])
    found[: config.last_kept + 1] = old[: config.last_kept + 1]
    merges = {left + right: (left, right) for left, right in merges_of(after)}
    for name, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        if number > config.last_kept and name in merges:
            found[number] = old[parts_of(name, merges, vocabulary, config.last_kept)].mean(0)
    for tag, like in config.tags.items():
        number = after.token_to_id(f"<|{canonical(tag)}|>")
        if number > config.last_kept:
            found[number] = old[before.token_to_id(f"<|{canonical(like)}|>")]
    return found


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """A tokenizer's merges in their order."""
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def parts_of(
    name: str, merges: Mapping[str, tuple[str, str]], vocabulary: Mapping[str, int], last: int
) -> list[int]:
    """Ids of the old pieces that a new one is made of."""
    if vocabulary[name] <= last:
        return [vocabulary[name]]
    left, right = merges[name]
    return [*parts_of(left, merges, vocabulary, last), *parts_of(right, merges, vocabulary, last)]


def grow_words(translator: EncoderDecoderModel, vectors: Tensor) -> None:
    """Gives the decoder other word vectors ``[V, D]``, which its output shares."""
    decoder: Any = translator.decoder
    decoder.resize_token_embeddings(len(vectors), mean_resizing=False)
    with torch.no_grad():
        decoder.get_input_embeddings().weight.copy_(vectors)
    decoder.tie_weights()
    translator.config.decoder.vocab_size = len(vectors)
