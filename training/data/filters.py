"""Second step of `training corpus`: the ordered list of filters, each counted in the card.

A filter takes rows and gives back those it keeps, mended or as they were. Adding one is one
function here and its name in ``FILTERS``.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import ftfy
from ftfy.badness import is_bad

from langmod.config import Frozen
from langmod.langid import LanguageIdentifier
from training.data.near_duplicates import NearDuplicates
from training.data.sources import ANY_LANGUAGE, Row


class FilterOptions(Frozen):
    """Limits of the filters; lengths are in characters."""

    normalise: Mapping[str, Literal["NFC", "NFKC", "NFD", "NFKD"]] = {}
    """Unicode form by language; NFC for the others."""
    markup: Literal["strip", "drop", "keep"] = "strip"
    """What happens to tags, entities, links and user names."""
    min_characters: int = 10
    """Fewest characters of a sentence that stands alone."""
    min_pair_characters: int = 2
    """Fewest characters of each side of a pair."""
    max_characters: int = 600
    max_length_ratio: float = 4.0
    """Largest ratio of the longer to the shorter side, where one side has ten characters or
    more."""
    min_letters: float = 0.4
    """Share of letters and combining marks in the text without spaces."""
    identifier: Path | None = None
    """Folder of a language identifier; without one no language is checked."""
    min_language_probability: float = 0.8
    """A row goes when the identifier is that sure of another language."""
    min_identified_characters: int = 20
    """Shorter texts are believed to be what their source says."""
    near_duplicate_threshold: float | None = None
    """Jaccard similarity of character 5-grams; null keeps near duplicates."""


Filter = Callable[[Iterable[Row], FilterOptions], Iterator[Row]]

TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9:-]*(?:\s[^<>]*)?/?>|<!--.*?-->")
LINK = re.compile(r"(?:https?://|ftp://|www\.)\S+|\S+@\S+\.\w{2,}")
USER = re.compile(r"(?<![\w.])(?:RT\s+)?@\w+:?")
ESCAPED_SPACE = re.compile(r"\\[nrt]")
ESCAPED_QUOTE = re.compile(r"\\(?=[\"'])|\"(?=\")")
ACCESS_KEY = re.compile(r"\([_~&]\w\)|[_~]\s?(?=[^\W_])")
REPEATED = re.compile(r"(\S)\1{3,}")
SPACES = re.compile(r"\s+")


def missing(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Drops rows with an empty side."""
    return (row for row in rows if all(text.strip() for text in row.texts))


def mojibake(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Repairs text decoded with the wrong table; drops what stays broken or undecodable."""
    for row in rows:
        if any(is_bad(text) for text in row.texts):
            mended = row._replace(texts=tuple(ftfy.fix_encoding(text) for text in row.texts))
            if not any("\ufffd" in text or is_bad(text) for text in mended.texts):
                yield mended
        elif not any("\ufffd" in text for text in row.texts):
            yield row


def normalise(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """One Unicode form per language, one space between words, no control characters."""
    for row in rows:
        texts = tuple(
            clean(unicodedata.normalize(options.normalise.get(tag, "NFC"), text))
            for tag, text in zip(row.languages, row.texts, strict=True)
        )
        yield row if texts == row.texts else row._replace(texts=texts)


def clean(text: str) -> str:
    """No control, private or unassigned characters; runs of white space become one space."""
    text = SPACES.sub(" ", text).strip()
    if text.isprintable():
        return text
    # Joiners (Cf) shape Uyghur and Indic words, so only the other invisible ones go.
    kept = (c for c in text if unicodedata.category(c) not in ("Cc", "Cn", "Co", "Cs"))
    return SPACES.sub(" ", "".join(kept)).strip()


def markup(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Strips tags, entities, links, user names, escapes; or drops such rows."""
    if options.markup == "keep":
        yield from rows
        return
    for row in rows:
        texts = tuple(strip_markup(text) for text in row.texts)
        if texts == row.texts:
            yield row
        elif options.markup == "strip" and all(texts):
            yield row._replace(texts=texts)


def strip_markup(text: str) -> str:
    """The words of a text alone."""
    text = html.unescape(text) if "&" in text else text
    for pattern in (TAG, LINK, USER, ESCAPED_SPACE):
        text = pattern.sub(" ", text)
    text = ESCAPED_QUOTE.sub("", text)
    return SPACES.sub(" ", text).strip()


def access_key(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Takes the ``_`` and ``~`` that mark a key out of messages; prose about code skips it."""
    for row in rows:
        texts = tuple(strip_access_key(text) for text in row.texts)
        if all(texts):
            yield row if texts == row.texts else row._replace(texts=texts)


def strip_access_key(text: str) -> str:
    """A message without its key; one with more marks than one holds names such as ``a_b_c``."""
    return ACCESS_KEY.sub("", text).strip() if len(ACCESS_KEY.findall(text)) == 1 else text


def repeated_letters(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Shortens runs of one character to three (``ㅋㅋㅋㅋㅋㅋ`` to ``ㅋㅋㅋ``); drops nothing."""
    for row in rows:
        texts = tuple(REPEATED.sub(r"\1\1\1", text) for text in row.texts)
        yield row if texts == row.texts else row._replace(texts=texts)


def length(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Drops too short, too long and, for pairs, too unequal rows."""
    for row in rows:
        lengths = sorted(len(text) for text in row.texts)
        low = options.min_characters if len(lengths) == 1 else options.min_pair_characters
        unequal = lengths[-1] >= 10 and lengths[-1] > lengths[0] * options.max_length_ratio
        if low <= lengths[0] and lengths[-1] <= options.max_characters and not unequal:
            yield row


def few_letters(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Drops tables, numbers and code: text with too small a share of letters."""
    for row in rows:
        if all(letter_share(text) >= options.min_letters for text in row.texts):
            yield row


def letter_share(text: str) -> float:
    """Letters and combining marks as a share of the characters that are no spaces."""
    dense = text.replace(" ", "")
    letters = sum(c.isalpha() or unicodedata.category(c)[0] == "M" for c in dense)
    return letters / max(1, len(dense))


def untranslated(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Drops pairs whose two sides are the same text."""
    return (
        row for row in rows if len(row.texts) == 1 or row.texts[0].lower() != row.texts[1].lower()
    )


def wrong_language(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Drops rows the identifier is sure are in another language; names those of ``und``."""
    if options.identifier is None:
        yield from rows
        return
    identifier = LanguageIdentifier.load(options.identifier)
    for row in rows:
        found = identifier.predict(row.texts)
        if ANY_LANGUAGE in row.languages:
            if all(sure >= options.min_language_probability for _, sure in found):
                yield row._replace(languages=tuple(tag for tag, _ in found))
        elif all(
            believed(tag, text, guess, options)
            for tag, text, guess in zip(row.languages, row.texts, found, strict=True)
        ):
            yield row


def believed(tag: str, text: str, guess: tuple[str, float], options: FilterOptions) -> bool:
    """Whether a text may pass as its declared language."""
    found, sure = guess
    too_short = len(text) < options.min_identified_characters
    return found == tag or too_short or sure < options.min_language_probability


def exact_duplicate(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Keeps the first of equal rows of the same languages and declared split."""
    seen: set[tuple[str | None, ...]] = set()
    for row in rows:
        key = (row.split, *row.languages, *row.texts)
        if key not in seen:
            seen.add(key)
            yield row


def near_duplicate(rows: Iterable[Row], options: FilterOptions) -> Iterator[Row]:
    """Keeps the first of rows whose character 5-grams nearly agree (MinHash, Broder 1997)."""
    if options.near_duplicate_threshold is None:
        yield from rows
        return
    seen: dict[str, NearDuplicates] = {}
    for row in rows:
        if row.label not in seen:
            seen[row.label] = NearDuplicates(options.near_duplicate_threshold)
        if seen[row.label].add("\n".join(row.texts)):
            yield row


FILTERS: tuple[Filter, ...] = (
    missing,
    mojibake,
    normalise,
    markup,
    access_key,
    repeated_letters,
    few_letters,
    length,
    untranslated,
    wrong_language,
    exact_duplicate,
    near_duplicate,
)
# Evaluation text that a source declares stays comparable: only its form is made equal.
EVALUATION_FILTERS: tuple[Filter, ...] = (missing, normalise, exact_duplicate)
