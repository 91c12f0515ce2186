"""The requests of an experiment, and the order in which an arm sends them."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydantic import JsonValue

from benchmarks.experiment import Arm, Asking, Copies, Endpoint, ManyModules, Traffic, Work
from langmod.errors import ConfigError

SENTENCES = Path(__file__).with_name("sentences.yaml")


@dataclass(frozen=True)
class Request:
    """One request and its place in the experiment."""

    number: int
    endpoint: Endpoint
    body: dict[str, JsonValue]
    group: str
    """Its language, or direction: what ``by_language`` keeps apart."""


def requests_of(experiment: Asking, mask_token: str) -> list[Request]:
    """Every request, the same ones whenever this is called.

    Raises:
        ConfigError: a language without sentences.
    """
    return requests_of_works(experiment.work, experiment.requests, experiment.texts, mask_token)


def requests_of_works(
    works: Sequence[Work], requests: int, texts: int, mask_token: str
) -> list[Request]:
    """So many requests of so many texts in each language of each work.

    Raises:
        ConfigError: a language without sentences.
    """
    sentences = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    made: list[Request] = []
    for work in works:
        for language in work.languages:
            if language not in sentences:
                raise ConfigError(f"{language}: {SENTENCES.name} has {', '.join(sentences)}")
            for number in range(requests):
                first = number * texts
                own = [
                    text_of(sentences[language], place, mask_token if _masks(work) else None)
                    for place in range(first, first + texts)
                ]
                made.append(_request(len(made), work, language, own))
    return made


def text_of(sentences: Sequence[str], place: int, mask_token: str | None) -> str:
    """A sentence, every second time around with another one behind it; one word masked if asked."""
    around, at = divmod(place, len(sentences))
    text = sentences[at]
    if around % 2:
        text = f"{text} {sentences[(at + around) % len(sentences)]}"
    if mask_token is None:
        return text
    words = text.split()
    words[place % len(words)] = mask_token
    return " ".join(words)


def requests_of_copies(copies: Copies, work: Work, mask_token: str) -> list[Request]:
    """One request to each copy, numbered as they are, the same ones whenever this is called.

    Many copies are asked the same text, so that they can be seen to answer otherwise.
    """
    sentences = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    made: list[Request] = []
    for number in range(copies.count):
        around, at = divmod(number, len(work.languages))
        language = work.languages[at]
        place = around % len(sentences[language])
        text = text_of(sentences[language], place, mask_token if _masks(work) else None)
        naming = work.model_copy(update={"body": {**work.body, "modules": [copies.name(number)]}})
        made.append(_request(number, naming, language, [text]))
    return made


def drawn(
    requests: Sequence[Request], asked: ManyModules, traffic: Traffic, seed: int
) -> list[Request]:
    """As many requests as one run sends; the same modules are frequent in every run."""
    draw = np.random.default_rng((asked.seed, seed))
    ranks = np.arange(1, len(requests) + 1)
    weights = ranks**-asked.exponent if traffic == "zipf" else np.ones(len(requests))
    order = np.random.default_rng(asked.seed).permutation(len(requests))
    places = draw.choice(order, asked.requests, p=weights / weights.sum())
    return [requests[place] for place in places]


def phases_of(requests: Sequence[Request], arm: Arm, seed: int) -> list[list[Request]]:
    """Requests that may be under way together, phase after phase."""
    shuffled = list(requests)
    random.Random(seed).shuffle(shuffled)
    if arm != "by_language":
        return [shuffled]
    groups = sorted({request.group for request in requests})
    return [[request for request in shuffled if request.group == group] for group in groups]


def _masks(work: Work) -> bool:
    return work.endpoint == "fill_mask"


def _request(number: int, work: Work, language: str, texts: list[str]) -> Request:
    spoken = "source" if work.endpoint == "translate" else "language"
    further = json.loads(json.dumps(work.body).replace("{language}", language))
    body: dict[str, JsonValue] = {**further, "texts": list(texts), spoken: language}
    group = f"{language}-{work.body['target']}" if "target" in work.body else language
    return Request(number, work.endpoint, body, group)
