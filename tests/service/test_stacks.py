import numpy as np
import pytest

from langmod.errors import BadRequest, ModuleMismatch, UnknownLanguage, UnknownModule, UnknownTask
from langmod.specs import ModuleManifest
from langmod.store import ModuleStore
from service.settings import Settings
from service.stacks import Resolver, Wanted
from tests.langmod.tokenizers_ import spec
from tests.service.modules import BANKS, manifest, tensors

TASK = {"kind": "classify", "labels": ("a", "b"), "role": "task"}


@pytest.fixture
def store(tmp_path):
    return ModuleStore(tmp_path / "modules")


@pytest.fixture
def resolver(store):
    return resolver_for(store, spec())


def resolver_for(store, base):
    return Resolver(store, base, BANKS, Settings(refuse_seconds=60))


def publish(store, name, **fields):
    made = ModuleManifest.model_validate(manifest(name).model_dump() | fields)
    return store.publish(made, tensors(made.role))


def names(stack):
    return [key.partition("@")[0] for key in stack.keys]


def test_a_language_finds_its_module_and_the_base_serves_its_own(store, resolver):
    publish(store, "kk-lora", languages=("kk",))
    assert names(resolver.stack(Wanted("kk"))) == ["kk-lora"]
    assert names(resolver.stack(Wanted("mn"))) == []
    publish(store, "mn-lora", languages=("mn",))
    assert names(resolver.stack(Wanted("mn"))) == ["mn-lora"]
    with pytest.raises(UnknownLanguage, match="no language 'ky'; near names: kk"):
        resolver.stack(Wanted("ky"))


@pytest.mark.parametrize(("given", "tag"), [("khk", "mn"), ("kor", "ko"), ("EN", "en")])
def test_languages_are_known_by_any_of_their_codes(resolver, given, tag):
    assert resolver.tag(given) == tag


def test_what_is_no_tag_is_an_unknown_language(resolver):
    with pytest.raises(UnknownLanguage, match="no language 'mongolian'; known: en, mn"):
        resolver.tag("mongolian")


def test_a_task_prefers_a_module_of_the_language(store, resolver):
    publish(store, "topic-any", task="topic", languages=("*",), priority=9, **TASK)
    publish(store, "topic-mn", task="topic", languages=("mn",), **TASK)
    wanted = {"task": "topic", "kind": "classify"}
    assert names(resolver.stack(Wanted("mn", **wanted))) == ["topic-mn"]
    assert names(resolver.stack(Wanted("en", **wanted))) == ["topic-any"]


def test_a_task_trained_on_a_language_serves_it_on_the_bare_base(store, resolver):
    publish(store, "ner-ko", task="ner", languages=("ko",), **TASK)
    publish(store, "topic-any", task="topic", languages=("*",), **TASK)
    assert names(resolver.stack(Wanted("ko", "ner", "classify"))) == ["ner-ko"]
    with pytest.raises(UnknownLanguage, match="no language 'ko'; known: en, mn"):
        resolver.stack(Wanted("ko", "topic", "classify"))


def test_an_unknown_task_lists_tasks_and_a_known_one_its_languages(store, resolver):
    publish(store, "ner-mn", task="ner", languages=("mn", "ko"), **TASK)
    with pytest.raises(UnknownTask, match="no task 'nerd'; near names: ner"):
        resolver.stack(Wanted("mn", "nerd", "classify"))
    with pytest.raises(UnknownTask, match="no task 'ner in en'; near names: ner in mn, ner in ko"):
        resolver.stack(Wanted("en", "ner", "classify"))
    with pytest.raises(BadRequest, match="task: name one; known: ner"):
        resolver.stack(Wanted("mn", None, "classify"))
    with pytest.raises(BadRequest, match=r"task 'ner' is of kind classify: send it to POST /class"):
        resolver.stack(Wanted("mn", "ner", "tag"))
    with pytest.raises(BadRequest, match="this endpoint takes no task"):
        resolver.stack(Wanted("mn", None, None, modules=("ner-mn",)))


def test_named_modules_go_before_what_would_be_found(store, resolver):
    old = publish(store, "mn-a", languages=("mn",), priority=5)
    publish(store, "mn-b", languages=("mn",))
    publish(store, "topic", task="topic", languages=("ko",), **TASK)
    assert names(resolver.stack(Wanted("mn", modules=("mn-b",)))) == ["mn-b"]
    assert resolver.stack(Wanted("mn", modules=(f"mn-a@{old}",))).keys == [f"mn-a@{old}"]
    both = Wanted("en", None, "classify", modules=("topic", "mn-b"))
    assert names(resolver.stack(both)) == ["mn-b", "topic"]
    with pytest.raises(BadRequest, match="'mn-a' and 'mn-b' are both language modules"):
        resolver.stack(Wanted("mn", modules=("mn-a", "mn-b")))
    with pytest.raises(UnknownModule, match="no module 'mn-c'; near names"):
        resolver.stack(Wanted("mn", modules=("mn-c",)))
    assert resolver.named_language(["mn-b"]) == "mn"
    assert resolver.named_language(["topic"]) is None


def test_a_module_that_does_not_fit_is_refused_with_every_fault(store, resolver):
    made = ModuleManifest.model_validate(
        manifest("alien").model_dump()
        | {"languages": ("mn",), "base_digest": "0" * 64, "tokenizer_digest": "0" * 64}
    )
    wrong = {"down": np.zeros((2, 5, 1), np.float32), "sideways": np.zeros(1, np.float32)}
    store.publish(made, wrong)
    for _ in range(2):
        with pytest.raises(ModuleMismatch, match="'alien' does not fit") as caught:
            resolver.stack(Wanted("mn"))
        assert len(caught.value.details["faults"]) == 4


def test_a_direction_finds_its_module_or_the_base_does_it(store):
    base = spec(kind="translator", languages=("en", "mn", "ko"), language_tokens={"en": 5, "mn": 6})
    resolver = resolver_for(store, base)
    publish(store, "mn-en", languages=("mn",), source="mn", target="en")
    publish(store, "ko-en", languages=("ko",), source="ko", target="en")
    for source, target, found in [
        ("mn", "en", ["mn-en"]),
        ("en", "mn", []),
        ("ko", "en", ["ko-en"]),
    ]:
        assert names(resolver.stack(Wanted(source=source, target=target))) == found
    with pytest.raises(UnknownLanguage, match="no language 'ko'"):
        resolver.stack(Wanted(source="en", target="ko"))
    assert resolver.directions() == [("ko", "en"), ("mn", "en")]


def test_what_can_be_asked_for_is_listed(store, resolver):
    publish(store, "kk-lora", languages=("kk",))
    publish(store, "ner", task="ner", languages=("ko", "*"), **TASK)
    assert resolver.languages() == ["en", "kk", "mn"]
    assert resolver.tasks() == {"ner": ["*", "ko"]}
