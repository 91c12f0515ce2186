"""The requests of an experiment: the same ones each time, every one in every order."""

import pytest

from benchmarks.requests import Work, by_group, requests_of, shuffled, text_of
from langmod.errors import ConfigError


def works(endpoint="fill_mask", languages=("mn", "ko", "en"), **body):
    return [Work(endpoint=endpoint, languages=languages, body=body)]


def test_requests_are_the_same_each_time():
    made = requests_of(works(), 3, 2, "<mask>")
    assert made == requests_of(works(), 3, 2, "<mask>")
    assert [request.number for request in made] == list(range(9))
    texts = [text for request in made for text in request.body["texts"]]
    assert len(set(texts)) == len(texts) == 18
    assert all(text.split().count("<mask>") == 1 for text in texts)


def test_every_order_has_every_request():
    made = requests_of(works(), 3, 2, "<mask>")
    mixed = shuffled(made, 1)
    assert mixed == shuffled(made, 1) != made
    phases = by_group(mixed)
    for requests in (mixed, [each for phase in phases for each in phase]):
        assert sorted(each.number for each in requests) == list(range(9))
    assert [{request.group for request in phase} for phase in phases] == [{"en"}, {"ko"}, {"mn"}]


def test_directions_are_kept_apart_and_a_body_may_name_the_language():
    made = requests_of(works("translate", ("mn", "ko"), target="en"), 1, 1, "")
    assert [(each.group, each.body["source"]) for each in made] == [
        ("mn-en", "mn"),
        ("ko-en", "ko"),
    ]
    made = requests_of(works("embed", ("mn", "ko"), modules=["{language}-x"]), 1, 1, "")
    assert [each.body["modules"] for each in made] == [["mn-x"], ["ko-x"]]


def test_texts_get_longer_every_second_time_around():
    texts = [text_of("en", place) for place in (0, 1, 10, 11)]
    assert texts[2] == f"{texts[0]} {texts[1]}"
    assert texts[3].startswith(f"{texts[1]} ")


def test_a_language_without_sentences_is_named():
    with pytest.raises(ConfigError, match=r"xx: sentences.yaml has en, mn"):
        requests_of(works("embed", ("xx",)), 1, 1, "")
