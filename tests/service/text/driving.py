"""Stands for a translator in tests of pure text work: a function from text to text."""

import re
from collections.abc import Callable

from service.text.documents import Wishes, plain_text
from service.text.html import escaped, html_text
from service.text.rendering import Manner
from service.text.segments import Draft

LIMIT = 80
"""Characters that the stand-in reads at once."""


def shouted(text):
    """A translator that loses nothing: capitals for words, but placeholders as they are."""
    return re.sub(r"https?://\S+|[%{$]\S+|\S+", _shout, text)


def _shout(match):
    word = match.group()
    return word if word[0] in "%{$" or "://" in word or "@" in word else word.upper()


def lossy(text):
    """A translator that loses whatever is no word, and digits."""
    return " ".join(re.sub(r"[^\w\s.,!?;:<>&]|\d|\b[a-z]*_\w*", "", text.upper()).split())


def drive(work, translate: Callable[[str], str], asked=None, cut=lambda text: False):
    """Runs a work with a function as its translator; ``asked`` collects what was asked."""
    try:
        asks = next(work)
        while True:
            if asked is not None:
                asked.append(list(asks))
            drafts = [[Draft(translate(ask), -1.0, len(ask.split()), cut(ask))] for ask in asks]
            asks = work.send(drafts)
    except StopIteration as done:
        return done.value


def translated(text, translate=shouted, *, html=False, language="en", asked=None, **wishes):
    """A text through the stand-in: what the caller gets."""
    manner = Manner(escaped if html else str, lambda each: len(each) <= LIMIT)
    work = (html_text if html else plain_text)(text, Wishes(language, **wishes), manner)
    return drive(work, translate, asked)
