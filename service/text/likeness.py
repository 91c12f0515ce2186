"""Where a translation holds a phrase that was translated by itself: a stand-in for alignment."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import regex

WORD = regex.compile(r"[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}]|['’-](?=\p{L}))*")
ALIKE = 0.65
"""Of two words that are taken for forms of one."""
STEM = 0.9
"""How alike a word is to the same with an ending."""
Span = tuple[int, int]


def find_like(phrase: str, text: str, near: float, taken: Sequence[Span] = ()) -> Span | None:
    """The words of a text that are a phrase, or forms of its words.

    Args:
        phrase: what is looked for.
        text: where.
        near: at which share of the text it is expected; decides between equals.
        taken: parts of the text that are something else.
    """
    wanted = [match.group().casefold() for match in WORD.finditer(phrase)]
    if not wanted:
        return None
    whole = [span for span in _exact(phrase.strip(" .!?…。，,:;"), text) if _free(span, taken)]
    if whole:
        return min(whole, key=lambda span: abs(span[0] / len(text) - near))
    words = list(WORD.finditer(text))
    best: tuple[float, float, Span] | None = None
    for at in range(len(words) - len(wanted) + 1):
        window = words[at : at + len(wanted)]
        span = window[0].start(), window[-1].end()
        score = min(
            _likeness(word, match.group().casefold())
            for word, match in zip(wanted, window, strict=True)
        )
        found = (score, -abs(span[0] / len(text) - near), span)
        if score >= ALIKE and _free(span, taken) and (best is None or found > best):
            best = found
    return best[2] if best else None


def _exact(phrase: str, text: str) -> list[Span]:
    """Places of a phrase as it is; where words are spaced, it begins one and takes its ending."""
    pattern = regex.escape(phrase)
    if WORD.match(phrase) and not regex.search(r"[\p{Han}\p{Hiragana}\p{Katakana}]", phrase):
        pattern = rf"(?<![\p{{L}}\p{{M}}\p{{N}}]){pattern}[\p{{L}}\p{{M}}]*"
        if len(phrase) < 3:
            pattern = pattern.removesuffix(r"[\p{L}\p{M}]*") + r"(?![\p{L}\p{M}\p{N}])"
    return [match.span() for match in regex.finditer(pattern, text, regex.IGNORECASE)]


def _likeness(word: str, other: str) -> float:
    stem, longer = sorted((word, other), key=len)
    if len(stem) > 1 and longer.startswith(stem):
        return STEM
    return SequenceMatcher(None, word, other, autojunk=False).ratio()


def _free(span: Span, taken: Sequence[Span]) -> bool:
    return all(span[1] <= start or span[0] >= end for start, end in taken)
