"""A segment's translation with all its marks in it.

First the segment as a whole is translated. What the model lost is mended where that is certain;
else the segment is translated in parts around what was lost, which then stands between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.text.characters import has_letters
from service.text.likeness import WORD, find_like
from service.text.marks import TAGS, Mark, find_marks, mend
from service.text.segments import (
    Draft,
    Escape,
    Reply,
    Segment,
    Work,
    as_it_is,
    assembled,
    joined_drafts,
    together,
)
from service.text.sentences import middle, parts_that_fit
from service.text.tags import Element, phrases, place_tags

STOPS = ".!?。．！？।။…"
FIRST_WITHOUT_SPACES = "\N{CJK RADICAL REPEAT}"
"""From here on scripts are written without spaces; the Korean one needs none after a full stop."""
HALVINGS = 2
"""How often a segment whose translation was cut at its limit is halved to be translated whole."""


@dataclass(frozen=True)
class Manner:
    """How segments are translated."""

    escape: Escape
    fits: Callable[[str], bool]
    """Whether the base reads a text."""
    whole: bool = True
    """Whether a translation that reached its limit is made anew in halves."""


def translated(segment: Segment, manner: Manner, halvings: int = HALVINGS) -> Work[list[Draft]]:
    """The translations of a segment, the best first, in the caller's format."""
    if not segment.translatable:
        return [Draft(as_it_is(segment, manner.escape))]
    spans = parts_that_fit(segment.text, manner.fits, segment.spans)
    if len(spans) > 1:
        return (yield from _in_parts(segment, spans, manner, halvings))
    inner = phrases(segment)
    reply, *others = yield [_one_line(each) for each in (segment.text, *inner.values())]
    wanted = len(reply)
    if manner.whole and halvings and reply[0].cut:
        cut = middle(segment.text, segment.spans)
        if cut is not None:
            halves = [(0, cut), (cut, len(segment.text))]
            return (yield from _in_parts(segment, halves, manner, halvings - 1))
    alone = {
        element: _without_added_stop(phrase, other[0].text)
        for (element, phrase), other in zip(inner.items(), others, strict=True)
    }
    reply = yield from _with_terms(segment, reply)
    finished = [_finished(segment, draft, alone, manner) for draft in reply]
    whole = [draft for draft in finished if draft is not None][:wanted]
    if whole:
        return whole
    return (yield from _around(segment, reply[0], manner, halvings))


def _in_parts(
    segment: Segment, spans: Sequence[tuple[int, int]], manner: Manner, halvings: int
) -> Work[list[Draft]]:
    parts = [segment.part(*span) for span in spans]
    return (yield from beside(parts, manner, halvings))


def beside(
    parts: Sequence[Segment | str], manner: Manner, halvings: int = HALVINGS
) -> Work[list[Draft]]:
    """Segments translated one by one and what stands between them, put together again.

    White space at a segment's edges is not translated; where there is none between two sentences,
    as in Chinese, the translations are set apart if they are written with spaces.
    """
    trimmed = [part if isinstance(part, str) else _trimmed(part) for part in parts]
    works = [translated(each[1], manner, halvings) for each in trimmed if not isinstance(each, str)]
    replies = iter((yield from together(works)))
    line: list[str | Reply] = []
    for each in trimmed:
        if isinstance(each, str):
            line.append(each)
            continue
        before, _, after = (as_it_is(part, manner.escape) for part in each)
        own = next(replies)
        if not before and line and _run_together(line[-1], own):
            before = " "
        line += [part for part in (before, own, after) if part]
    return joined_drafts(line)


def _run_together(last: str | Reply, own: Reply) -> bool:
    if isinstance(last, str):
        return False
    end, start = last[0].text[-1:], own[0].text[:1]
    return end in set(".!?…;:,") and bool(WORD.match(start)) and start < FIRST_WITHOUT_SPACES


def _trimmed(segment: Segment) -> tuple[Segment, Segment, Segment]:
    """The white space before a segment, the segment, and the white space after it.

    Tags that stand in the white space stay there, unless they hold some of the text.
    """
    text = segment.text
    inner = text.strip()
    start = text.index(inner) if inner else len(text)
    end = start + len(inner)
    before = [mark for mark in segment.marks if mark.end < start]
    after = [mark for mark in segment.marks if mark.start > end]
    before, after = (marks if _balanced(marks) else [] for marks in (before, after))
    within = [
        replace(
            mark,
            start=min(max(mark.start - start, 0), len(inner)),
            end=min(max(mark.end - start, 0), len(inner)),
        )
        for mark in segment.marks
        if mark not in before and mark not in after
    ]
    return (
        Segment(text[:start], tuple(before)),
        Segment(inner, tuple(within)),
        Segment(text[end:], tuple(mark.moved(-end) for mark in after)),
    )


def _balanced(tags: Sequence[Mark]) -> bool:
    depth = 0
    for tag in tags:
        depth += {"open": 1, "close": -1}.get(tag.kind, 0)
        if depth < 0:
            return False
    return depth == 0


def _finished(
    segment: Segment, draft: Draft, alone: dict[Element, str], manner: Manner
) -> Draft | None:
    """A translation that holds every mark, None where one is lost."""
    text = mend(segment.text, segment.marks, draft.text)
    spans = find_marks(segment.text, segment.marks, text)
    if any(mark not in spans for mark in segment.marks if mark.kind not in TAGS):
        return None
    tags = place_tags(segment, text, spans, alone)
    words = assembled(text, [(*span, " ") for span in sorted(spans.values())], str)
    terms = any(mark.kind == "term" for mark in spans)
    # Of a plain sentence the model's own answer counts, be it empty.
    if tags is None or (segment.marks and not (terms or has_letters(words))):
        return None
    places = [(at, at, mark.output) for at, mark in tags]
    places += [
        (*span, mark.put(manner.escape)) for mark, span in spans.items() if mark.kind == "fixed"
    ]
    places += [
        (*span, manner.escape(_cased(mark.output, text[slice(*span)])))
        for mark, span in spans.items()
        if mark.kind == "term"
    ]
    places.sort(key=lambda place: place[:2])
    return replace(draft, text=assembled(text, places, manner.escape))


def _cased(term: str, found: str) -> str:
    """A term as the glossary writes it, but for a capital at the beginning of a sentence."""
    return found if found[1:] == term[1:] else term


def _with_terms(segment: Segment, reply: Reply) -> Work[Reply]:
    """The translations with the glossary's words in them, where they can be put in for certain."""
    lost = [
        mark
        for mark in segment.marks
        if mark.kind == "term"
        and not any(mark in find_marks(segment.text, segment.marks, each.text) for each in reply)
    ]
    if not lost:
        return reply
    sources = [segment.text[mark.start : mark.end] for mark in lost]
    others = yield [*sources, _one_line(_switched(segment, lost))]
    drafts = []
    for draft in reply:
        text = draft.text
        for mark, other in zip(lost, others, strict=False):
            near = mark.start / len(segment.text)
            text = _swapped(text, other[0].text, mark.output, near)
        drafts.append(replace(draft, text=text))
    return [*drafts, *others[-1]]


def _swapped(text: str, usual: str, wanted: str, near: float) -> str:
    """A translation with the wanted word instead of the model's usual one, its ending kept."""
    usual = usual.strip(" " + STOPS)
    span = find_like(usual, text, near)
    if span is None:
        return text
    there = text[slice(*span)]
    stem = there.casefold().startswith(usual.casefold())
    return text[: span[0]] + wanted + (there[len(usual) :] if stem else "") + text[span[1] :]


def _switched(segment: Segment, terms: Sequence[Mark]) -> str:
    """The source with the glossary's words already in it: models copy what they do not know."""
    parts, at = [], 0
    for mark in terms:
        parts += [segment.text[at : mark.start], mark.output]
        at = mark.end
    return "".join([*parts, segment.text[at:]])


def _around(segment: Segment, draft: Draft, manner: Manner, halvings: int) -> Work[list[Draft]]:
    """What stands between the lost marks is translated by itself; they stay in the source's order.

    Where no mark is lost but a tag's words are, parts end at tags; where all words are, at marks.
    """
    text = mend(segment.text, segment.marks, draft.text)
    spans = find_marks(segment.text, segment.marks, text)
    lost = [mark for mark in segment.marks if mark.kind not in TAGS and mark not in spans]
    lost = lost or [mark for mark in segment.marks if mark.kind in TAGS] or list(segment.marks)
    if not lost:
        # The model had nothing to say: untranslated is better than lost.
        return [replace(draft, text=as_it_is(segment, manner.escape))]
    parts: list[Segment | str] = []
    at, between = 0, list[Mark]()
    for mark in segment.marks:
        if mark not in lost:
            between.append(mark.moved(-at))
            continue
        parts.append(Segment(segment.text[at : mark.start], tuple(between)))
        parts.append(mark.put(manner.escape))
        at, between = mark.end, []
    parts.append(Segment(segment.text[at:], tuple(between)))
    kept = [part for part in parts if isinstance(part, str) or part.text or part.marks]
    return (yield from beside(kept, manner, halvings))


def _without_added_stop(source: str, text: str) -> str:
    """A phrase's translation without the full stop that a model likes to end it with."""
    return text if source[-1:] in STOPS else text.rstrip(STOPS)


def _one_line(text: str) -> str:
    return " ".join(text.split())
