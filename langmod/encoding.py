"""Text → token ids and back over a ``tokenizer.json``, the same in training, export and service.

What a user types is only ever text: strings that look like control tokens are spelt like any other.
"""

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from langmod.decoding import TextDecoder
from langmod.errors import BadRequest, ConfigError, TextTooLong
from langmod.specs import SHORTEST_TEXT, BaseSpec, Vocabulary

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
CONTROL = "\0"
"""Put before the name of every control token, and taken out of every text: nobody can type one."""
WORD_MARKS = ("▁", "Ġ")
"""What pieces that begin a word start with, in SentencePiece and byte-level vocabularies."""
CHARACTERS_A_TOKEN = 100
"""A text of more characters than this for each token allowed is refused without cutting it up."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One text, or pair of texts, as a base reads it."""

    token_ids: IntArray
    """``[T]``"""
    type_ids: IntArray
    """``[T]`` 1 for the second text of a pair, where the base tells them apart."""
    offsets: IntArray
    """``[T, 2]`` first character and the one after the last, in the text as it was given."""
    special: BoolArray
    """``[T]`` whether a token stands for none of the text."""

    def __len__(self) -> int:
        return len(self.token_ids)


class TextEncoder:
    """The tokenizer of one base, or of a module that brings a vocabulary."""

    def __init__(
        self, tokenizer_json: Path | bytes, base: BaseSpec, own: Vocabulary | None = None
    ) -> None:
        """Reads the tokenizer, a file or its content; ``own`` is the vocabulary of a module.

        Raises:
            ConfigError: no such file, or not a tokenizer.
        """
        special = own.model_dump(exclude={"size", "sha256"}) if own else {}
        self.base = base = base.model_copy(update=special)
        self.taken = 0
        """Positions of each row that soft prompts take."""
        try:
            content = json.loads(_content(tokenizer_json))
            self.control_ids = _control_ids(content, base)
            _hide_control_tokens(content, self.control_ids, base.mask_id)
            self._json = json.dumps(content, ensure_ascii=False)
            self._tokenizer = _build(self._json)
        # A file that is no tokenizer fails inside the library, which raises a bare Exception.
        except Exception as error:
            name = tokenizer_json if isinstance(tokenizer_json, Path) else "tokenizer.json"
            raise ConfigError(f"{name} is no tokenizer: {error}") from error
        model = content["model"]
        self._writer = self._target(tokenizer_json)
        self._continuation = model.get("continuing_subword_prefix") or None
        self.vocabulary = self._tokenizer.get_vocab_size()
        self.written = self._writer.vocabulary if self._writer else self.vocabulary
        """Tokens of the vocabulary that the base writes in."""

    def beside(self, taken: int) -> "TextEncoder":
        """Returns an encoder for rows of which soft prompts take so many positions.

        Raises:
            BadRequest: they leave none for text.
        """
        limit = self.base.max_tokens
        if taken > limit - SHORTEST_TEXT:
            raise BadRequest(
                f"soft prompts of {taken} vectors leave no room for text: {self.base.name} reads "
                f"at most {limit} tokens",
                got=taken,
                limit=limit,
            )
        if taken == self.taken:
            return self
        other = copy.copy(self)
        other.taken = taken
        other.__dict__.pop("_truncating", None)
        return other

    @property
    def room(self) -> int:
        """Tokens of the longest text, special ones included."""
        return self.base.max_tokens - self.taken

    def encode(
        self, text: str, pair: str | None = None, *, truncate: bool = False, masks: bool = False
    ) -> Encoded:
        """A text (or pair) between the special tokens of its base.

        Args:
            text: any text.
            pair: the second text of a pair.
            truncate: cut what is too long instead of refusing it.
            masks: read the mask token as a mask, as only fill-mask does; offsets are then those of
                the text with one more character before each mask.

        Raises:
            TextTooLong: more tokens than the base reads.
        """
        if not truncate:
            self._check_characters(len(text) + len(pair or ""))
        tokenizer = self._truncating if truncate else self._tokenizer
        prepared = [None if each is None else self._prepare(each, masks) for each in (text, pair)]
        encoding = tokenizer.encode(*prepared)
        self._check_tokens(len(encoding.ids))
        return _encoded(encoding)

    def encode_sentence(self, text: str, language: str, *, truncate: bool = False) -> Encoded:
        """A sentence as a translator reads it: ``[language token] tokens eos``.

        One whose encoder was trained by itself reads it as that encoder reads any text.

        Raises:
            TextTooLong: more tokens than the base reads.
            BadRequest: the base has no token for this language.
        """
        if self.base.target_tokenizer is not None:
            return self.encode(text, truncate=truncate)
        if language not in self.base.language_tokens:
            known = ", ".join(sorted(self.base.language_tokens)) or "none"
            raise BadRequest(f"{self.base.name} has no token for {language!r}; it has: {known}")
        if not truncate:
            self._check_characters(len(text))
        encoding = self._tokenizer.encode(self._prepare(text), add_special_tokens=False)
        limit = self.room - 2
        if truncate and len(encoding.ids) > limit:
            encoding.truncate(limit)
        self._check_tokens(len(encoding.ids) + 2)
        inner = _encoded(encoding)
        ends = [self.base.language_tokens[language]], [self.base.eos_id]
        return Encoded(
            token_ids=np.concatenate([ends[0], inner.token_ids, ends[1]]).astype(np.int64),
            type_ids=np.pad(inner.type_ids, 1),
            offsets=np.pad(inner.offsets, ((1, 1), (0, 0))),
            special=np.pad(inner.special, 1, constant_values=True),
        )

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of tokens, of a translator those it writes; control tokens stand for nothing."""
        if self._writer is not None:
            return self._writer.decode(token_ids)
        kept = [int(each) for each in token_ids if int(each) not in self.control_ids]
        return str(self._tokenizer.decode(kept))

    def words(self, text: str) -> list[int]:
        """Which word each token of ``encode(text, truncate=True)`` belongs to, -1: none.

        Words are what the tokenizer cuts a text into before it looks for pieces.
        """
        numbers = self._truncating.encode(self._prepare(text)).word_ids
        return [-1 if number is None else number for number in numbers]

    def piece(self, token_id: int) -> tuple[str, bool]:
        """The text of one token, and whether it begins a word."""
        name = self._tokenizer.id_to_token(token_id) or ""
        if token_id in self.control_ids:
            return name.removeprefix(CONTROL), True
        if self._continuation and name.startswith(self._continuation):
            return name.removeprefix(self._continuation), False
        begins = bool(self._continuation) or name.startswith(WORD_MARKS)
        return self.decode([token_id]).strip(), begins

    def _target(self, tokenizer_json: Path | bytes) -> TextDecoder | None:
        """The tokenizer of what the base writes, which lies below that of what it reads."""
        if self.base.target_tokenizer is None or not isinstance(tokenizer_json, Path):
            return None
        return TextDecoder(tokenizer_json.parent, self.base)

    def _prepare(self, text: str, masks: bool = False) -> str:
        plain = text.replace(CONTROL, " ")
        if masks and self.base.mask_token:
            return plain.replace(self.base.mask_token, CONTROL + self.base.mask_token)
        return plain

    @cached_property
    def _truncating(self) -> Tokenizer:
        tokenizer = _build(self._json)
        tokenizer.enable_truncation(self.room)
        return tokenizer

    def _check_characters(self, got: int) -> None:
        if got > CHARACTERS_A_TOKEN * self.base.max_tokens:
            raise TextTooLong(
                f"the text has {got} characters; {self.base.name} reads at most "
                f"{self.base.max_tokens} tokens: send it in parts",
                got_characters=got,
                limit=self.base.max_tokens,
            )

    def _check_tokens(self, got: int) -> None:
        if got > self.room:
            prompts = f", of which soft prompts take {self.taken}" if self.taken else ""
            raise TextTooLong(
                f"the text has {got} tokens, special ones included; {self.base.name} reads at "
                f"most {self.base.max_tokens}{prompts}: send it in parts",
                got=got,
                limit=self.room,
            )


def _content(tokenizer_json: Path | bytes) -> bytes:
    return tokenizer_json.read_bytes() if isinstance(tokenizer_json, Path) else tokenizer_json


def _build(content: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _encoded(encoding: Encoding) -> Encoded:
    return Encoded(
        token_ids=np.array(encoding.ids, np.int64),
        type_ids=np.array(encoding.type_ids, np.int64),
        offsets=np.array(encoding.offsets, np.int64).reshape(-1, 2),
        special=np.array(encoding.special_tokens_mask, np.bool_),
    )


def _control_ids(content: dict[str, Any], base: BaseSpec) -> frozenset[int]:
    added = {token["id"] for token in content.get("added_tokens", ()) if token["special"]}
    named: tuple[int | None, ...] = (base.pad_id, base.mask_id)
    languages: Iterable[int] = ()
    if base.target_tokenizer is None:
        named, languages = (
            (*named, base.eos_id, base.decoder_start_id),
            base.language_tokens.values(),
        )
    return frozenset(each for each in (*added, *named, *languages) if each is not None)


def _hide_control_tokens(
    content: dict[str, Any], control_ids: frozenset[int], mask_id: int | None
) -> None:
    """Renames the control tokens to what no text can hold; their ids stay."""
    for token in content.get("added_tokens", ()):
        if token["id"] in control_ids:
            token["content"] = CONTROL + token["content"]
            token["normalized"] = False
            # The masked piece takes the space before it along, as it did in training.
            token["lstrip"] = token["lstrip"] or token["id"] == mask_id
    model = content["model"]
    vocabulary: dict[str, int] | Sequence[list[Any]] = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {
            CONTROL + name if number in control_ids else name: number
            for name, number in vocabulary.items()
        }
        if vocabulary.get(model.get("unk_token")) in control_ids:
            model["unk_token"] = CONTROL + model["unk_token"]
    else:
        for number in control_ids & set(range(len(vocabulary))):
            vocabulary[number][0] = CONTROL + vocabulary[number][0]
