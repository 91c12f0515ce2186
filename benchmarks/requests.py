"""The requests of an experiment: the same ones whenever they are made."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, JsonValue

from langmod.config import Frozen
from langmod.errors import ConfigError

SENTENCES = Path(__file__).with_name("sentences.yaml")
Endpoint = Literal["fill_mask", "classify", "tag", "embed", "translate"]


class Work(Frozen):
    """Requests of one kind, the same number in each of its languages."""

    endpoint: Endpoint
    languages: tuple[str, ...]
    """The languages of the texts."""
    body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of each request; ``{language}`` in them stands for its language."""

    def request(self, number: int, language: str, texts: Sequence[str]) -> "Request":
        """One request with some texts of a language."""
        spoken = "source" if self.endpoint == "translate" else "language"
        further = json.loads(json.dumps(self.body).replace("{language}", language))
        group = f"{language}-{self.body['target']}" if "target" in self.body else language
        body = {**further, "texts": list(texts), spoken: language}
        return Request(self.endpoint, body, number, group)

    def text(self, language: str, place: int, mask_token: str) -> str:
        """A sentence for this work, with a mask if it fills masks.

        Raises:
            ConfigError: a language without sentences.
        """
        return text_of(language, place, mask_token if self.endpoint == "fill_mask" else "")


@dataclass(frozen=True)
class Request:
    """One request and its place in the experiment."""

    endpoint: Endpoint
    body: dict[str, JsonValue]
    number: int = 0
    group: str = ""
    """Its language, or direction."""


def requests_of(works: Iterable[Work], requests: int, texts: int, mask_token: str) -> list[Request]:
    """So many requests of so many texts in each language of each work.

    Raises:
        ConfigError: a language without sentences.
    """
    made: list[Request] = []
    for work in works:
        for language in work.languages:
            for first in range(0, requests * texts, texts):
                own = [work.text(language, first + each, mask_token) for each in range(texts)]
                made.append(work.request(len(made), language, own))
    return made


def text_of(language: str, place: int, mask_token: str = "") -> str:
    """A sentence, every second time around with another one behind it; one word masked if asked.

    Raises:
        ConfigError: a language without sentences.
    """
    sentences = _sentences(SENTENCES)
    if language not in sentences:
        raise ConfigError(f"{language}: {SENTENCES.name} has {', '.join(sentences)}")
    own = sentences[language]
    around, at = divmod(place, len(own))
    text = own[at]
    if around % 2:
        text = f"{text} {own[(at + around) % len(own)]}"
    if not mask_token:
        return text
    words = text.split()
    words[place % len(words)] = mask_token
    return " ".join(words)


@cache
def _sentences(path: Path) -> dict[str, list[str]]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def shuffled(requests: Sequence[Request], seed: int) -> list[Request]:
    """All requests in another order."""
    return random.Random(seed).sample(requests, len(requests))


def by_group(requests: Sequence[Request]) -> list[list[Request]]:
    """The requests of one language after those of another."""
    groups = sorted({request.group for request in requests})
    return [[request for request in requests if request.group == group] for group in groups]
