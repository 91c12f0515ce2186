"""HTML: text between tags is translated, every byte of the markup stays as it was written.

The markup is cut up by turbohtml's tokenizer, which follows the WHATWG standard as browsers do.
What it calls tags, comments and scripts is copied from the source; only text and four attributes
are written anew.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import regex
from turbohtml import TokenType, tokenize, unescape

from service.text.documents import (
    Result,
    Wishes,
    count_sentences,
    lines,
    marked,
    plain_text,
    sentences,
)
from service.text.marks import Kind, Mark
from service.text.rendering import Manner, beside
from service.text.segments import Segment, Work, together

ATTRIBUTES = frozenset({"alt", "title", "placeholder", "aria-label"})
"""Whose values are read by people."""
CODE = frozenset({"script", "style"})
"""Elements whose text is no text."""
VERBATIM = frozenset({"pre", "textarea", "listing"})
"""Elements whose line breaks are seen."""
VOID_NAMES = "area base br col embed hr img input link meta param source track wbr"
VOID = frozenset(VOID_NAMES.split())
INLINE_NAMES = """
a abbr acronym b bdi bdo big cite code data del dfn em font i img input ins kbd label mark nobr
output q rb rp rt rtc ruby s samp small span strike strong sub sup time tt u var wbr
"""
INLINE = frozenset(INLINE_NAMES.split())
"""Elements that stand in a sentence, as custom ones with a hyphen do; others end it."""
ATTRIBUTE = regex.compile(
    r"""[\s/]+(?P<name>[^\s/>=]+)"""
    r"""(?:\s*=\s*(?:"(?P<value>[^"]*)"|'(?P<value>[^']*)'|(?P<value>[^\s>"']+)))?"""
)
CLOSED_BY_THEMSELVES = frozenset({"p", "li", "dt", "dd", "option", "tr", "td", "th"})
"""Elements that the next of their kind ends."""


@dataclass(frozen=True)
class Piece:
    """A tag, a comment or a stretch of text, as it stands in the source."""

    source: str
    kind: TokenType
    tag: str = ""
    text: str = ""
    """Of a stretch of text, its characters without entities."""
    attributes: tuple[tuple[str, str], ...] = ()
    alone: bool = False
    """Whether nothing closes it."""

    @property
    def in_sentence(self) -> bool:
        """Whether a sentence goes on after it."""
        return not self.tag or self.tag in INLINE or "-" in self.tag


def escaped(text: str) -> str:
    """Text as HTML."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return safe.replace("\u00a0", "&nbsp;")


def pieces(html: str) -> list[Piece]:
    """HTML cut up; the sources of its pieces in order are the whole of it."""
    found: list[Piece] = []
    at, text = 0, ""
    for token in tokenize(html, capture_source=True):
        if token.type is TokenType.TEXT:
            text += token.data or ""
            continue
        source = token.source or ""
        start = html.find(source, at)
        if start > at:
            found.append(Piece(html[at:start], TokenType.TEXT, text=text))
        tag = (token.tag or "").lower()
        alone = tag in VOID or token.self_closing
        found.append(Piece(source, token.type, tag, "", tuple(token.attrs or ()), alone))
        at, text = start + len(source), ""
    rest = html[at:]
    # An unfinished tag at the end is no token; nobody sees it.
    end = len(rest) if unescape(rest) == text else max(rest.rfind("<"), 0)
    found += [Piece(rest[:end], TokenType.TEXT, text=text)] if end else []
    return [*found, *([Piece(rest[end:], TokenType.COMMENT)] if rest[end:] else [])]


def html_text(html: str, wishes: Wishes, manner: Manner) -> Work[Result]:
    """Translates what people read of HTML, a fragment or a whole page."""
    found = pieces(html.replace("\r\n", "\n").replace("\r", "\n"))
    reader = Reader(wishes)
    for piece, read in (yield from _attributes_translated(found, wishes, manner)):
        reader.take(piece, read)
    reader.end_block()
    drafts = yield from beside(reader.parts, manner)
    if "\r\n" in html:
        drafts = [replace(draft, text=draft.text.replace("\n", "\r\n")) for draft in drafts]
    return Result(drafts, count_sentences(reader.parts))


def visible(found: Iterable[Piece]) -> Iterator[tuple[Piece, bool]]:
    """Each piece, and whether its text and attributes are to be translated."""
    stack: list[tuple[str, bool]] = []
    for piece in found:
        around = stack[-1][1] if stack else True
        if piece.kind is TokenType.START_TAG:
            if piece.tag in CLOSED_BY_THEMSELVES and stack and stack[-1][0] == piece.tag:
                stack.pop()
                around = stack[-1][1] if stack else True
            own = _read(piece, around)
            if not piece.alone:
                stack.append((piece.tag, own))
            yield piece, own
        elif piece.kind is TokenType.END_TAG:
            places = [at for at, (tag, _) in enumerate(stack) if tag == piece.tag]
            own = stack[places[-1]][1] if places else around
            del stack[places[-1] if places else len(stack) :]
            yield piece, own
        else:
            yield piece, around


def _read(piece: Piece, around: bool) -> bool:
    attributes = dict(piece.attributes)
    if piece.tag in CODE or "notranslate" in attributes.get("class", "").split():
        return False
    wish = attributes.get("translate")
    return around if wish is None else wish.lower() != "no"


def _attributes_translated(
    found: Sequence[Piece], wishes: Wishes, manner: Manner
) -> Work[list[tuple[Piece, bool]]]:
    """The pieces with the attributes that people read translated."""
    read = list(visible(found))
    plain = replace(manner, escape=str)
    places = [
        (at, match)
        for at, (piece, own) in enumerate(read)
        if own and piece.kind is TokenType.START_TAG
        for match in _attributes_of(piece)
    ]
    works = [
        plain_text(unescape(match["value"]), wishes, plain, tags_in_it=False) for _, match in places
    ]
    results = yield from together(works)
    # From the last to the first, so that places in a tag stay true.
    for (at, match), result in reversed(list(zip(places, results, strict=True))):
        piece, own = read[at]
        start, end = match.span("value")
        value = escaped(result.drafts[0].text).replace('"', "&quot;").replace("'", "&#39;")
        bare = piece.source[start - 1] not in "\"'"
        quoted = f'"{value}"' if bare else value
        source = piece.source[:start] + quoted + piece.source[end:]
        read[at] = replace(piece, source=source), own
    return read


def _attributes_of(piece: Piece) -> list[regex.Match[str]]:
    """Where the values stand that people read."""
    start = 1 + len(piece.tag)
    matches = list(ATTRIBUTE.finditer(piece.source, start))
    if [match["name"].lower() for match in matches] != [name for name, _ in piece.attributes]:
        return []  # not written as attributes usually are: left alone
    return [
        match
        for match in matches
        if match["name"].lower() in ATTRIBUTES and (match["value"] or "").strip()
    ]


class Reader:
    """Pieces in order, made into segments and what stands between them."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self.parts: list[Segment | str] = []
        self._text = ""
        self._tags: list[Mark] = []
        self._kept: list[Mark] = []
        self._sources: list[str] = []
        self._verbatim = 0
        self._unread: list[Piece] = []

    def take(self, piece: Piece, read: bool) -> None:
        """The next piece, and whether it is to be translated."""
        if not read:
            self._unread.append(piece)
            return
        self._end_unread()
        if piece.kind is TokenType.TEXT:
            self._add(piece)
        elif piece.in_sentence:
            self._add_tag(piece)
        else:
            self.end_block()
            self.parts.append(piece.source)
            if piece.tag in VERBATIM:
                self._verbatim += 1 if piece.kind is TokenType.START_TAG else -1

    def end_block(self) -> None:
        """Ends the sentence and all before it that stand in one block."""
        self._end_unread()
        block = marked(self._text, self._wishes, self._tags, self._kept)
        if not block.translatable:
            self.parts += self._sources
        elif self._verbatim > 0:
            self.parts += lines(block, self._wishes.language)
        else:
            self.parts += sentences(block, self._wishes.language)
        self._text, self._tags, self._kept, self._sources = "", [], [], []

    def _add(self, piece: Piece) -> None:
        self._sources.append(piece.source)
        self._text += piece.text

    def _add_tag(self, piece: Piece) -> None:
        self._sources.append(piece.source)
        at = len(self._text)
        kinds: dict[TokenType, Kind] = {TokenType.START_TAG: "open", TokenType.END_TAG: "close"}
        kind = "point" if piece.alone else kinds.get(piece.kind, "point")
        self._tags.append(Mark(at, at, kind, piece.source, piece.tag, written=True))

    def _end_unread(self) -> None:
        """Takes what is not to be translated as one: a word of the sentence, or a block."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        source = "".join(piece.source for piece in unread)
        if any(not piece.in_sentence for piece in unread if piece.tag and piece.tag not in CODE):
            self.end_block()
            self.parts.append(source)
            return
        self._sources.append(source)
        at = len(self._text)
        if unread[0].tag not in CODE:
            self._text += "".join(piece.text for piece in unread)
        if at == len(self._text):
            self._tags.append(Mark(at, at, "point", source, written=True))
        else:
            self._kept.append(Mark(at, len(self._text), "fixed", source, written=True))
