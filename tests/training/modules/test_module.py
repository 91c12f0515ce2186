"""Language and task modules end to end at nano size: train, stack, score, publish."""

import json

import pytest
import torch

from adaptation.architectures import load_base
from adaptation.methods import METHODS
from export.module import export_module
from langmod.errors import ConfigError, DataError, ModuleMismatch
from langmod.specs import FP32_TOLERANCE, PROMPT, ModuleManifest, ModuleRun, read_scores
from langmod.store import ModuleStore
from langmod.tasks.classify import Classify
from tests.bases import make_base
from tests.training.runs import QUICK, losses, module_config
from training.evaluation.results import sections
from training.evaluation.scoreboard import ScoreConfig, score_published
from training.loop.trainer import Optimisation, arguments
from training.modules.module import train_module

TOPICS = {"sport": "ball team goal player win", "food": "bread milk soup meat rice"}
LONGER = QUICK | {"steps": 40, "save_every": 40}
"""Enough to see a module learn."""


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """Labelled text in two languages whose words give the topic away."""
    folder = tmp_path_factory.mktemp("topics")
    for split, count in (("train", 40), ("dev", 8), ("test", 8)):
        for language in ("eng", "khk"):
            lines = [
                f"{label}\t{' '.join(words.split()[n % 5 :] + words.split()[: n % 5])} {n}"
                for n in range(count)
                for label, words in TOPICS.items()
            ]
            (folder / f"{language}.{split}.tsv").write_text("\n".join(lines) + "\n")
    return {
        "name": "topic",
        "kind": "classify",
        "languages": ["eng", "khk"],
        "files": f"{folder}/{{language}}.{{split}}.tsv",
    }


@pytest.fixture(scope="module")
def trained(base, topics, small_corpus, tmp_path_factory):
    """Two language modules and a task module stacked on them, all published."""
    folder = tmp_path_factory.mktemp("runs")
    for tag, method in (("mn", "bottleneck"), ("en", "lora")):
        train_module(
            module_config(
                folder, base, tag, method=method, language=tag, corpus=small_corpus,
                optimisation=LONGER,
            )
        )  # fmt: skip
    longer = QUICK | {"steps": 60, "batch_size": 16, "learning_rate": 2e-2}
    config = module_config(
        folder,
        base,
        "topic",
        role="task",
        task=topics,
        language_modules=f"{folder}/{{language}}",
        optimisation=longer,
    )
    train_module(config)
    for name in ("mn", "en", "topic"):
        export_module(folder / name, base)
    return folder


def learns(folder):
    """The last steps' losses are below the first ones'; single ones hang on what was masked."""
    curve = losses(folder / "checkpoints")
    return sum(curve[-10:]) < sum(curve[:10])


def test_training_changes_the_module_and_leaves_the_base(trained, base):
    run = ModuleRun.load(trained / "mn")
    assert run.languages == ("mn",)
    assert run.trained_parameters < 3000
    state = torch.load(trained / "mn" / "checkpoints" / "checkpoint-40" / "optimizer.pt")
    assert len(state["state"]) == 4, "down, up and their biases learn, nothing else"
    assert learns(trained / "mn")


def test_dev_scores_are_in_the_published_manifest(trained, base):
    manifest = ModuleStore(base / "modules").load("topic").manifest
    accuracy = [m for m in manifest.metrics if m.name == "accuracy"]
    assert {m.language for m in accuracy} == {"en", "mn"}
    assert all(m.split == "dev" and m.value > 0.8 and m.signature for m in accuracy)
    names = {m.name for m in ModuleStore(base / "modules").load("mn").manifest.metrics}
    assert names == {"pppl", "bits_per_byte"}


def test_an_invertible_module_learns_on_both_sides_and_is_published(base, small_corpus, tmp_path):
    settings = {"inv_adapter": "nice", "leave_out": [0]}
    config = module_config(
        tmp_path, base, "inv", language="mn", corpus=small_corpus, method_config=settings,
        optimisation=LONGER,
    )  # fmt: skip
    train_module(config)
    assert learns(tmp_path / "inv")
    done = export_module(tmp_path / "inv", base)
    assert 0 < done.max_difference <= FP32_TOLERANCE
    module = ModuleStore(base / "modules").load("inv")
    ups = [f"bottleneck.invertible.{each}_up_weight" for each in "fg"]
    assert all(abs(module.tensors[name]).max() > 0 for name in ups)
    assert {metric.name for metric in module.manifest.metrics} == {"pppl", "bits_per_byte"}
    ModuleStore(base / "modules").remove("inv")


def score_config(folder, base, corpus, **changes):
    values = {"base": str(base), "corpus": corpus, "sentences": 5, "out": folder / "new" / "b.json"}
    return ScoreConfig.model_validate(values | changes)


def value(metrics, name, language):
    return next(m.value for m in metrics if (m.name, m.language) == (name, language))


def test_published_modules_are_scored_beside_the_bare_base(
    trained, base, topics, small_corpus, tmp_path
):
    config = score_config(tmp_path, base, small_corpus, tasks=[topics])
    board = score_published(config)
    named = [(row.module, row.language, row.task) for row in board.rows]
    assert named == [
        (None, "en", None),
        (None, "ko", None),
        (None, "mn", None),
        ("en", "en", None),
        ("mn", "mn", None),
        ("topic", None, "topic"),
    ]
    for tag in ("en", "mn"):
        bare, module = (
            value(row.metrics, "pppl", tag) for row in board.rows if row.language == tag
        )
        assert module < bare
    assert {m.split for row in board.rows for m in row.metrics} == {"test"}
    card = (base / "README.md").read_text()
    assert f"| mn | {value(board.rows[2].metrics, 'pppl', 'mn'):.3f} |" in card
    assert len(json.loads((base / "evaluation.json").read_text())["metrics"]) == 6
    assert sections([json.loads(config.out.read_text())])


def test_the_published_task_scores_as_the_run_did(trained, base, topics, small_corpus, tmp_path):
    config = score_config(tmp_path, base, small_corpus, tasks=[topics], split="dev")
    row = next(row for row in score_published(config).rows if row.task)
    # Published in halves; the run was scored before that.
    assert {(m.name, m.language): (m.value, m.data) for m in row.metrics} == {
        (m.name, m.language): (pytest.approx(m.value, abs=0.07), m.data)
        for m in read_scores(trained / "topic")
    }


def test_a_task_is_scored_only_in_the_languages_it_serves(
    trained, base, topics, small_corpus, tmp_path
):
    wider = topics | {"languages": ["eng", "kor"]}
    other = topics | {"name": "intent"}
    config = score_config(tmp_path, base, small_corpus, tasks=[wider, other])
    rows = [row for row in score_published(config).rows if row.task]
    assert [{m.language for m in row.metrics} for row in rows] == [{"en"}]


def test_a_module_of_another_base_is_refused(trained, base, small_corpus, tmp_path):
    make_base(tmp_path / "other", "encoder", seed=5)
    config = score_config(tmp_path, tmp_path / "other", small_corpus, modules=base / "modules")
    with pytest.raises(ModuleMismatch, match=r"'en' does not fit: made for base nano"):
        score_published(config)


def test_prompts_stack_on_modules_of_any_method(base, topics, small_corpus, tmp_path):
    """Task prompt on language prompt and on adapter, task adapter on language prompt."""
    prompt = {"num_virtual_tokens": 6, "prompt_tuning_init": "TEXT",
              "prompt_tuning_init_text": "Монгол:"}  # fmt: skip
    short = {"block_tokens": 40, "optimisation": QUICK | {"learning_rate": 0.1}}
    words = {"method": "soft_prompt", "method_config": prompt, **short}
    for tag, how in (("mn", words), ("en", short)):
        train_module(module_config(tmp_path, base, tag, language=tag, corpus=small_corpus, **how))
    for method in ("soft_prompt", "bottleneck"):
        about = {"role": "task", "task": topics, "language_modules": f"{tmp_path}/{{language}}"}
        run = train_module(module_config(tmp_path, base, method, method=method, **about))
        assert {m.language for m in read_scores(tmp_path / method)} == {"mn", "en"}
        assert run.kind == "classify"
    started = METHODS["soft_prompt"].fresh(
        METHODS["soft_prompt"].Config(**prompt), load_base(base), torch.Generator()
    )
    _, learned = METHODS["soft_prompt"].read(tmp_path / "mn" / "mn", load_base(base))
    assert (learned[PROMPT] - started[PROMPT]).abs().min() > 0, "every number learns"
    assert ModuleRun.load(tmp_path / "mn").trained_parameters == learned[PROMPT].numel()
    for name in ("mn", "soft_prompt"):
        export_module(tmp_path / name, base, store=str(tmp_path / "store"))
    assert set(ModuleStore(tmp_path / "store").load("mn").tensors) == {PROMPT}


def test_blocks_leave_room_for_a_prompt(base, small_corpus, tmp_path):
    config = module_config(
        tmp_path, base, "mn", method="soft_prompt", language="mn", corpus=small_corpus
    )
    with pytest.raises(ConfigError, match=r"block_tokens is 48, at most 44 behind a prompt of 20"):
        train_module(config)


def test_baselines_are_never_published(base, topics, tmp_path):
    for train, label in (("head", "head"), ("base", "base")):
        config = module_config(tmp_path, base, label, role="task", task=topics, train=train)
        run = train_module(config)
        scores = json.loads((tmp_path / label / "scores.json").read_text())["metrics"]
        assert {row["split"] for row in scores} == {"dev", "test"}
        assert run.train == train
        with pytest.raises(ConfigError, match=r"is a baseline"):
            export_module(tmp_path / label, base)


def test_a_tuned_base_is_scored_as_a_language(base, small_corpus, tmp_path):
    config = module_config(
        tmp_path, base, "tuned", language="mn", corpus=small_corpus, train="base"
    )
    run = train_module(config)
    assert run.trained_parameters > 20_000
    found = {(m.name, m.split) for m in read_scores(tmp_path / "tuned")}
    assert found == {(n, s) for n in ("pppl", "bits_per_byte") for s in ("dev", "test")}
    with pytest.raises(ConfigError, match=r"is a baseline"):
        export_module(tmp_path / "tuned", base)


def test_bf16_runs_are_scored_in_fp32(base, topics, tmp_path, monkeypatch):
    halves, head = {}, Classify.head

    def seen(self, *inputs):
        halves.setdefault(torch.is_grad_enabled(), set()).add(torch.is_autocast_enabled("cpu"))
        return head(self, *inputs)

    monkeypatch.setattr(Classify, "head", seen)
    monkeypatch.setattr("training.loop.trainer.multiplies_bf16", lambda: True)
    optimisation = QUICK | {"bf16": True}
    train_module(
        module_config(tmp_path, base, "half", role="task", task=topics, optimisation=optimisation)
    )
    assert halves == {True: {True}, False: {False}}, "training in halves, scoring not"


def test_bf16_is_left_where_it_is_emulated(tmp_path, monkeypatch):
    settings = Optimisation.model_validate(QUICK | {"bf16": True})
    for has_it in (True, False):
        monkeypatch.setattr("training.loop.trainer.multiplies_bf16", lambda answer=has_it: answer)
        assert arguments(tmp_path, settings).bf16 is has_it


@pytest.mark.parametrize("method", ["lora", "soft_prompt"])
def test_one_direction_of_a_translator(method, small_corpus, tmp_path):
    base = tmp_path / "translator"
    make_base(base, "translator")
    config = module_config(
        tmp_path, base, "mn-en", source="khk", target="eng", corpus=small_corpus, method=method,
        block_tokens=40,
    )  # fmt: skip
    run = train_module(config)
    assert (run.source, run.target) == ("mn", "en")
    done = export_module(tmp_path / "mn-en", base)
    manifest: ModuleManifest = ModuleStore(base / "modules").load(done.name).manifest
    assert {m.name.split()[0] for m in manifest.metrics} == {"chrf++", "bleu"}
    assert all("nrefs:1" in m.signature for m in manifest.metrics)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "task"}, "a task module needs `task`"),
        ({"language": "mn"}, "a language module needs `corpus`"),
        ({"method": "magic", "language": "mn", "corpus": "x"}, "method is 'magic'; allowed"),
        (
            {"method_config": {"inv_adapter": "glow"}, "language": "mn", "corpus": "x"},
            r"method_config: inv_adapter: Input should be 'nice' \(got 'glow'\)",
        ),
        ({"corpus": "x"}, "needs `language`, or `source` and `target`"),
    ],
)
def test_fields_that_do_not_go_together(base, tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        train_module(module_config(tmp_path, base, "odd", **changes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sport only", r"eng\.train\.tsv:1: 1 columns"),
        ("sport\ta\tb\tc", r"eng\.train\.tsv:1: 4 columns"),
    ],
)
def test_broken_lines_are_named(base, topics, tmp_path, text, words):
    (tmp_path / "eng.train.tsv").write_text(text + "\n")
    files = f"{tmp_path}/{{language}}.{{split}}.tsv"
    config = module_config(
        tmp_path, base, "bad", role="task", task=topics | {"files": files, "languages": ["eng"]}
    )
    with pytest.raises(DataError, match=words):
        train_module(config)
