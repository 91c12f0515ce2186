"""What a checkpoint of another library asks for by its settings and tensors, sorted.

A setting is served, idle (without effect on a forward pass), or refused by name; one that nobody
sorted is refused wherever it is set. Like faults are said once, with their places counted.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NAMED = 8
"""So many kinds of places a fault names; more are counted."""


@dataclass(frozen=True)
class Fields:
    """The settings that a method's checkpoints may have."""

    served: frozenset[str] = frozenset()
    """Read, or checked in another place."""
    idle: frozenset[str] = frozenset()
    """How training began and went, where files lie, how they are held in memory."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Setting → why an answer would be another one with it."""

    def __or__(self, other: "Fields") -> "Fields":
        """Those of both."""
        return Fields(
            self.served | other.served, self.idle | other.idle, {**self.refused, **other.refused}
        )

    @property
    def known(self) -> frozenset[str]:
        """All that are sorted."""
        return self.served | self.idle | frozenset(self.refused)

    def faults(self, settings: Mapping[str, Any]) -> list[str]:
        """A line for each setting that is set and not served."""
        return [
            f"{name} is {value!r}: {self.refused.get(name, 'no setting that langmod knows')}"
            for name, value in sorted(settings.items())
            if is_set(value) and name not in self.served | self.idle
        ]


def is_set(value: object) -> bool:
    """Whether a setting asks for anything: null, false and empty do not, 0 does."""
    empty = isinstance(value, str | list | dict | tuple) and not value
    return value is not None and value is not False and not empty


def words(text: str) -> frozenset[str]:
    """The names in a text, as tables of settings are written."""
    return frozenset(text.split())


def missing(state: Collection[str], wanted: Iterable[str]) -> list[str]:
    """One fault for all tensors that the settings ask for and a checkpoint lacks."""
    return counted("the settings ask for it and it is missing", set(wanted) - set(state))


def misshapen(shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> list[str]:
    """One fault for all tensors that have a shape in place of another: got, allowed."""
    odd: dict[str, list[str]] = defaultdict(list)
    for key, (got, allowed) in shapes.items():
        if list(got) != list(allowed):
            odd[f"has shape {list(got)}, allowed {list(allowed)}"].append(key)
    return [line for fault, keys in odd.items() for line in counted(fault, keys)]


def counted(fault: str, keys: Iterable[str]) -> list[str]:
    """A fault once for all its places, which are counted; nothing where there are none."""
    found = sorted(keys)
    if not found:
        return []
    number = f"{len(found)} tensors, " if len(found) > 1 else ""
    return [f"{number}{places(found)}: {fault}"]


def places(keys: Iterable[str]) -> str:
    """Names that differ in a layer's number as one: ``encoder.layer.{0-2,5}.query``."""
    layers: dict[str, set[int]] = defaultdict(set)
    for key in keys:
        number = re.search(r"\.(\d+)\.", key)
        form = key if number is None else f"{key[: number.start()]}.{{}}.{key[number.end() :]}"
        layers[form].update([] if number is None else [int(number[1])])
    named = [form.replace("{}", _numbers(layers[form])) for form in sorted(layers)]
    more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
    return ", ".join(named[:NAMED] + more)


def _numbers(found: set[int]) -> str:
    """``3``, or ``{0-2,5}``."""
    starts = sorted(each for each in found if each - 1 not in found)
    ends = sorted(each for each in found if each + 1 not in found)
    runs = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return runs[0] if len(found) == 1 else f"{{{','.join(runs)}}}"
