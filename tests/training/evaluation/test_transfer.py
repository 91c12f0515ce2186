"""A task in languages that gave it no text: stacked on their modules, or on a fine-tuned base."""

import json

import pytest
from sklearn.metrics import accuracy_score

from langmod.errors import ConfigError
from langmod.specs import ModuleRun
from tests.training.runs import QUICK, module_config
from training.data.task_data import TaskSettings, read_examples
from training.evaluation.transfer import TransferConfig, trained_tensors, transfer
from training.modules.module import train_module
from training.modules.task_model import TaskModel
from training.modules.task_run import stacked_tensors
from training.scoring.predictions import predict
from training.scoring.score import open_base

WORDS = {
    "eng": {"sport": "ball team goal win", "food": "bread milk soup rice"},
    "khk": {"sport": "бөмбөг баг гоол", "food": "талх сүү шөл"},
    "kor": {"sport": "공 팀 골", "food": "빵 우유 국"},
}
LONGER = QUICK | {"steps": 30, "batch_size": 8, "learning_rate": 2e-2}


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("topics")
    for language, labels in WORDS.items():
        for split, count in (("train", 12), ("test", 6)):
            lines = [
                f"{label}\t{' '.join(words.split()[n % 3 :] + [words.split()[0]] * (n % 4))} {n}"
                for n in range(count)
                for label, words in labels.items()
            ]
            (folder / f"{language}.{split}.tsv").write_text("\n".join(lines) + "\n")
    return {
        "name": "topic",
        "kind": "classify",
        "languages": ["eng"],
        "files": f"{folder}/{{language}}.{{split}}.tsv",
    }


@pytest.fixture(scope="module")
def trained(base, topics, small_corpus, tmp_path_factory):
    """Modules of two languages, tasks on English alone: adapters, a prompt, a whole base."""
    folder = tmp_path_factory.mktemp("runs")
    prompt = {"method": "soft_prompt", "method_config": {"num_virtual_tokens": 4}}
    room = {"block_tokens": 40, "score": False}
    for kind, how in (("adapters", {}), ("prompts", prompt)):
        for tag in ("en", "mn", "ko"):
            train_module(
                module_config(folder / kind, base, tag, language=tag, corpus=small_corpus,
                              **how, **room)
            )  # fmt: skip
    about = {"role": "task", "task": topics, "score": False, "optimisation": LONGER}
    stacked = about | {"language_modules": f"{folder}/adapters/{{language}}"}
    train_module(module_config(folder, base, "adapter", **stacked))
    on_prompts = about | prompt | {"language_modules": f"{folder}/prompts/{{language}}"}
    train_module(module_config(folder, base, "prompt", **on_prompts))
    for name, keep in (("whole", True), ("dropped", False)):
        train_module(module_config(folder, base, name, train="base", keep=keep, **about))
    return folder


def config(trained, task, out, **changes):
    values = {"task": trained / task, "languages": ["eng", "khk", "kor"], "out": out}
    return TransferConfig.model_validate(values | changes)


def values(found):
    return {(m.name, m.language): m.value for m in found.metrics}


def test_a_task_is_asked_on_the_module_of_each_language(trained, base, topics, tmp_path):
    """The same answers as when each language is stacked by hand, and others than on the base."""
    settings = TaskSettings.model_validate(topics | {"languages": ["khk"]})
    scored = open_base(str(base))
    run = json.loads((trained / "adapter" / "run.json").read_text())
    tensors = trained_tensors(trained / "adapter", ModuleRun.load(trained / "adapter"), scored)
    module = stacked_tensors(trained / "adapters" / "mn", scored.slotted)
    examples = read_examples(settings, "khk", "test")
    model = TaskModel(scored.slotted, settings.task(), tensors, [module])
    answers = predict(model, scored.encoder, settings, examples, (run["labels"], {"mn": 1}))
    place = f"{trained}/adapters/{{language}}"
    found = values(transfer(config(trained, "adapter", tmp_path, language_modules=place)))
    truths = [example.reference for example in examples]
    assert found["accuracy topic", "mn"] == accuracy_score(truths, answers)
    assert found["accuracy topic", "en"] > 0.8, "it learned English"
    saved = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    assert {row["name"] for row in saved} == {name for name, _ in found}
    assert all("examples:12" in row["signature"] for row in saved)


def test_the_mean_is_over_languages_without_training_text(trained, tmp_path):
    place = f"{trained}/adapters/{{language}}"
    found = values(transfer(config(trained, "adapter", tmp_path, language_modules=place)))
    mean = (found["accuracy topic", "mn"] + found["accuracy topic", "ko"]) / 2
    assert found["zero_shot_accuracy topic", "mean"] == pytest.approx(mean)
    assert mean != pytest.approx(found["accuracy topic", "en"])
    alone = values(transfer(config(trained, "adapter", tmp_path, languages=["eng"])))
    assert {name for name, _ in alone} == {"accuracy topic", "macro_f1 topic"}


def test_prompts_stand_one_after_the_other(trained, base, tmp_path):
    """A task prompt asked with and without a language prompt in front gives other logits."""
    scored = open_base(str(base))
    tensors = trained_tensors(trained / "prompt", ModuleRun.load(trained / "prompt"), scored)
    language = stacked_tensors(trained / "prompts" / "ko", scored.slotted)
    settings = TaskSettings(name="topic", kind="classify", languages=("kor",), files="")
    assert TaskModel(scored.slotted, settings.task(), tensors, [language]).prompt == 8
    place = f"{trained}/prompts/{{language}}"
    found = transfer(config(trained, "prompt", tmp_path, language_modules=place))
    assert values(found)["accuracy topic", "en"] > 0.6


def test_a_fine_tuned_base_is_scored_if_it_was_kept(trained, tmp_path):
    found = values(transfer(config(trained, "whole", tmp_path, examples=4)))
    assert found["accuracy topic", "en"] > 0.7
    with pytest.raises(ConfigError, match=r"was not kept; train it with keep=true"):
        transfer(config(trained, "dropped", tmp_path))


def test_a_language_is_no_task(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"mn learned no task but a language"):
        transfer(config(trained, "adapters/mn", tmp_path))


def test_a_sample_is_fixed_and_not_the_first_of_a_sorted_file(tmp_path):
    lines = [f"{label}\ttext {number}" for label in "abcd" for number in range(20)]
    (tmp_path / "eng.test.tsv").write_text("\n".join(lines) + "\n")
    about = {"name": "topic", "kind": "classify", "languages": ["eng"], "max_scored": 20,
             "files": f"{tmp_path}/{{language}}.{{split}}.tsv"}  # fmt: skip
    settings = TaskSettings.model_validate(about)
    found = read_examples(settings, "eng", "test")
    assert len(found) == 20
    assert {example.reference for example in found} == set("abcd")
    assert read_examples(settings, "eng", "test") == found
    everyone = read_examples(settings.model_copy(update={"max_scored": None}), "eng", "test")
    assert [each for each in everyone if each in found] == found


def test_spans_are_renamed_alike_in_every_language(tmp_path):
    rows = [{"text": "Anna in Seoul", "spans": [[0, 4, "PS"], [8, 13, "GPE"], [5, 7, "X"]]}] * 3
    (tmp_path / "kor.dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = {"name": "ner", "kind": "tag", "languages": ["kor"], "max_scored": 2,
             "files": f"{tmp_path}/{{language}}.{{split}}.jsonl"}  # fmt: skip
    plain = read_examples(TaskSettings.model_validate(about), "kor", "dev")
    assert len(plain) == 2
    assert plain[0].reference == [(0, 4, "PS"), (8, 13, "GPE"), (5, 7, "X")]
    types = {"PS": "person", "GPE": "place"}
    renamed = read_examples(TaskSettings.model_validate(about | {"types": types}), "kor", "dev")
    assert renamed[0].reference == [(0, 4, "person"), (8, 13, "place")]
