"""The requests of an experiment: the same ones each time, every one in every arm."""

import pytest
from pydantic import ValidationError

from benchmarks.experiment import Experiment
from benchmarks.workload import phases_of, requests_of, text_of
from langmod.errors import ConfigError


def test_requests_are_the_same_each_time(experiment):
    made = requests_of(experiment, "<mask>")
    assert made == requests_of(experiment, "<mask>")
    assert [request.number for request in made] == list(range(9))
    assert {request.group for request in made} == {"mn", "ko", "en"}
    texts = [text for request in made for text in request.body["texts"]]
    assert len(set(texts)) == len(texts) == 18
    assert all(text.split().count("<mask>") == 1 for text in texts)


def test_every_arm_sends_every_request(experiment):
    made = requests_of(experiment, "<mask>")
    (mixed,) = phases_of(made, "mixed", seed=1)
    apart = phases_of(made, "by_language", seed=1)
    assert mixed != made
    for phases in ([mixed], apart):
        assert sorted(each.number for phase in phases for each in phase) == list(range(9))
    assert [{request.group for request in phase} for phase in apart] == [{"en"}, {"ko"}, {"mn"}]
    assert len({request.group for request in mixed[:4]}) > 1


def test_directions_are_kept_apart(experiment):
    work = [{"endpoint": "translate", "languages": ["mn", "ko"], "body": {"target": "en"}}]
    other = Experiment.model_validate(experiment.model_dump() | {"work": work})
    made = requests_of(other, "")
    assert {request.group for request in made} == {"mn-en", "ko-en"}
    assert {request.body["source"] for request in made} == {"mn", "ko"}


def test_a_body_may_name_the_language(experiment):
    work = [{"endpoint": "embed", "languages": ["mn", "ko"], "body": {"modules": ["{language}-x"]}}]
    other = Experiment.model_validate(experiment.model_dump() | {"work": work})
    made = requests_of(other, "")
    assert [each.body["modules"] for each in made] == [["mn-x"]] * 3 + [["ko-x"]] * 3


def test_texts_get_longer_every_second_time_around():
    assert [text_of(["a b.", "c d."], place, None) for place in range(4)] == [
        "a b.", "c d.", "a b. c d.", "c d. a b.",
    ]  # fmt: skip


def test_a_language_without_sentences_is_named(experiment):
    work = [{"endpoint": "embed", "languages": ["xx"]}]
    other = Experiment.model_validate(experiment.model_dump() | {"work": work})
    with pytest.raises(ConfigError, match=r"xx: sentences.yaml has en, mn"):
        requests_of(other, "")


def test_a_bare_base_is_asked_for_no_task(experiment):
    work = [{"endpoint": "tag", "languages": ["ko"], "body": {"task": "ner"}}]
    with pytest.raises(ValidationError, match="a bare base has no head for tag"):
        Experiment.model_validate(experiment.model_dump() | {"work": work})
