"""Tags go where their words went."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.text.likeness import Span, find_like
from service.text.marks import Mark, Spans
from service.text.segments import Segment


@dataclass(frozen=True)
class Element:
    """A pair of tags in a segment; the missing half of one that is alone is the segment's edge."""

    start: int
    end: int
    opening: Mark | None
    closing: Mark | None


def elements(segment: Segment) -> list[Element]:
    """The pairs of tags of a segment, in order of their beginning."""
    found: list[Element] = []
    waiting: list[Mark] = []
    for mark in segment.marks:
        if mark.kind == "open":
            waiting.append(mark)
        elif mark.kind == "close":
            own = next((each for each in reversed(waiting) if each.name == mark.name), None)
            if own is not None:
                waiting.remove(own)
            found.append(Element(own.start if own else 0, mark.start, own, mark))
    found += [Element(mark.start, len(segment.text), mark, None) for mark in waiting]
    return sorted(found, key=lambda each: (each.start, -each.end))


def phrases(segment: Segment) -> dict[Element, str]:
    """The text of each element that must be translated by itself to be found again."""
    return {
        each: segment.text[each.start : each.end].strip()
        for each in elements(segment)
        if (each.start, each.end) != (0, len(segment.text))
        and segment.part(each.start, each.end).translatable
    }


Place = tuple[int, Mark]
"""Before which character of a translation a tag stands."""


def place_tags(
    segment: Segment, translation: str, spans: Spans, translated: Mapping[Element, str]
) -> list[Place] | None:
    """Where the tags of a segment belong in its translation; None where their words went astray.

    Args:
        segment: as it was given.
        translation: of its text.
        spans: where its other marks lie in that.
        translated: the translations of ``phrases``, one by one.
    """
    found: dict[Element, Span] = {}
    for each in elements(segment):
        taken = [span for other, span in found.items() if other.end <= each.start]
        if each in translated:
            near = each.start / len(segment.text)
            own = find_like(translated[each], translation, near, taken)
        else:
            own = _span_of(each, segment, translation, spans)
        if own is None or any(
            _crossing(own, other) for other in [*found.values(), *spans.values()]
        ):
            return None
        found[each] = own
    points = [mark for mark in segment.marks if mark.kind == "point"]
    return [
        *_in_order(found, segment),
        *(_point(each, segment, translation, spans) for each in points),
    ]


def _span_of(element: Element, segment: Segment, translation: str, spans: Spans) -> Span | None:
    """Where the content of an element lies that is not to be translated, or is all there is."""
    text = segment.text
    if (element.start, element.end) == (0, len(text)):
        return 0, len(translation)
    own = [mark for mark in spans if element.start <= mark.start and mark.end <= element.end]
    inside = text[element.start : element.end].strip()
    if own and sum(mark.end - mark.start for mark in own) == len(inside):
        return min(spans[mark][0] for mark in own), max(spans[mark][1] for mark in own)
    at = translation.find(inside) if inside else -1
    return (at, at + len(inside)) if at >= 0 else None


def _crossing(one: Span, other: Span) -> bool:
    (a, b), (c, d) = sorted((one, other))
    return a < c < b < d


def _point(mark: Mark, segment: Segment, translation: str, spans: Spans) -> Place:
    """A tag without words: at the same share of the text, between two words."""
    text = segment.text
    if mark.start in (0, len(text)):
        return (0 if mark.start == 0 else len(translation)), mark
    after_space, before_space = text[mark.start - 1].isspace(), text[mark.start].isspace()
    aim = mark.start / len(text) * len(translation)
    gaps = [0, len(translation), *(at for at, char in enumerate(translation) if char == " ")]
    free = [at for at in gaps if not any(a < at < b for a, b in spans.values())]
    place = min(free, key=lambda at: abs(at - aim))
    if after_space and translation[place : place + 1] == " ":
        place += 1
        # The model was shown one space for the two around the tag.
        mark = replace(mark, output=mark.output + " ") if before_space else mark
    return place, mark


def _in_order(found: Mapping[Element, Span], segment: Segment) -> list[Place]:
    """Tags by place; what closes before what opens, and nested ones as they were nested."""
    rank = {mark: at for at, mark in enumerate(segment.marks)}
    keyed: list[tuple[tuple[int, ...], Place]] = []
    for element, (start, end) in found.items():
        if element.opening:
            key = (start, 1, -end, rank[element.opening])
            keyed.append((key, (start, element.opening)))
        if element.closing:
            key = (end, 0, -start, rank[element.closing])
            keyed.append((key, (end, element.closing)))
    return [place for _, place in sorted(keyed, key=lambda each: each[0])]
