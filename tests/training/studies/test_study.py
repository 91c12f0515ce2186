"""A study of tiny arms: what its yaml asks for, what is kept, what a fault stops."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from langmod.errors import ConfigError
from tests.training.runs import QUICK
from training.evaluation.ngram import NgramConfig
from training.studies.definition import Stage, Study, folder_name
from training.studies.result import StudyResult
from training.studies.stages import digests, is_done, make_stage, read_record
from training.studies.study import StudyFailed, check_equal_steps, check_places, make, run_study

NGRAM = {
    "command": "ngram",
    "yaml": "training/configs/ngram.yaml",
    "set": {
        "base": "${values.base}",
        "corpus": "${values.corpus}",
        "languages": ["${values.language}"],
        "order": "${values.order}",
        "sentences": 5,
        "out": "${run}/counted",
    },
}
MODULE = {
    "command": "module",
    "yaml": "training/configs/language.yaml",
    "set": {
        "name": "trained",
        "base": "${values.base}",
        "corpus": "${values.corpus}",
        "language": "${values.language}",
        "block_tokens": 48,
        "out": "${run}/trained",
        "optimisation": QUICK | {"steps": 2},
    },
}
MEASURE = {
    "command": "measure",
    "yaml": "training/configs/measure.yaml",
    "set": {
        "model": "${run}/trained",
        "corpus": "${values.corpus}",
        "languages": ["${values.language}"],
        "sentences": 4,
        "out": "${run}/measured",
    },
}


@pytest.fixture
def write(base, small_corpus, tmp_path):
    """A yaml of a study in a folder of its own; loads it with overrides."""

    def written(*overrides, **fields):
        said = {
            "name": "tiny-${size}",
            "question": "Which order?",
            "size": "nano",
            "sizes": {"nano": {"order": 2}, "mini": {"order": 3}},
            "seeds": [1, 2],
            "reference": "low",
            "metrics": [{"name": "bits_per_byte", "better": "lower"}],
            "values": {"base": str(base), "corpus": str(small_corpus), "language": "khk"},
            "stages": [NGRAM],
            "arms": {"low": {}, "high": {"values": {"order": 4}}},
            "runs": str(tmp_path / "runs"),
            "results": str(tmp_path / "results"),
        }
        yaml = tmp_path / "study.yaml"
        yaml.write_text(json.dumps(said | fields), encoding="utf-8")
        return Study.load(yaml, overrides)

    return written


def settings(study, name):
    run = next(each for each in study.arm_runs() if each.name == name)
    return run.settings


def test_values_are_the_studys_then_the_sizes_then_the_arms(write):
    study = write()
    assert study.name == "tiny-nano"
    assert settings(study, "low-1")[0].order == 2
    assert settings(study, "high-1")[0].order == 4
    other = write("size=mini", "sizes.mini.order=5")
    assert other.name == "tiny-mini"
    assert settings(other, "low-1")[0].order == 5
    assert settings(other, "high-1")[0].order == 4
    assert study.digest != other.digest
    assert write().digest == study.digest == write("runs=elsewhere").digest


def test_runs_are_seeded_named_and_in_the_order_of_seeds(write):
    arms = {"low": {"seeded": False}, "high": {"stages": [MODULE, MEASURE]}}
    runs = write(arms=arms).arm_runs()
    assert [run.name for run in runs] == ["low", "high-1", "high-2"]
    assert [run.settings[0].optimisation.seed for run in runs[1:]] == [1, 2]
    assert [run.settings[0].out for run in runs[1:]] == [run.folder / "trained" for run in runs[1:]]


def test_folders_have_names_that_no_shell_minds():
    assert folder_name("(IA)3", 4) == "IA-3-4"
    assert folder_name("bare base", None) == "bare-base"


def test_a_stage_stands_once_for_each_item_and_only_at_its_sizes(write):
    looped = NGRAM | {"each": ["khk", "eng"]}
    looped["set"] = NGRAM["set"] | {"languages": ["${each}"], "out": "${run}/${each}"}
    study = write(stages=[looped, MODULE | {"sizes": ["mini"]}])
    found = settings(study, "low-1")
    assert [each.languages for each in found] == [("khk",), ("eng",)]
    assert [each.out.name for each in found] == ["khk", "eng"]
    assert (
        len(settings(write("size=mini", stages=[looped, MODULE | {"sizes": ["mini"]}]), "low-1"))
        == 3
    )


def test_a_yaml_goes_on_from_others(write, tmp_path):
    (tmp_path / "ground.yaml").write_text("values: {language: kor}\nseeds: [7]\n")
    study = write(include=["ground.yaml"], values={"base": "b", "corpus": "c"})
    assert settings(study, "low-1")[0].languages == ("kor",)
    with pytest.raises(ConfigError, match=r"include: no file .*none\.yaml"):
        write(include=["none.yaml"])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"reference": "none"}, r"tiny-nano: no arm none; the arms are low, high"),
        ({"seeds": [1, 1]}, r"seeds are \[1, 1\], each may stand once"),
        ({"size": "huge"}, r"size is 'huge'; the yaml has nano, mini"),
        ({"spead": 1}, r"spead: Extra inputs are not permitted"),
        ({"seeds": "${values.none}"}, r"study\.yaml: .*none"),
    ],
)
def test_a_wrong_yaml_is_refused(write, fields, fault):
    with pytest.raises(ConfigError, match=fault):
        write(**fields)


def test_wrong_stages_are_refused_before_any_is_made(write):
    for stage, fault in (
        (NGRAM | {"command": "count"}, r"no command 'count'; known: corpus, "),
        (NGRAM | {"set": {"speed": 1}}, r"speed: Extra inputs are not permitted"),
        (NGRAM | {"set": {"out": "${values.nothing}"}}, r"low: .*nothing"),
    ):
        study = write(stages=[stage])
        with pytest.raises(ConfigError, match=fault):
            run_study(study)
        assert not study.runs.exists()


def test_unequal_steps_are_refused_unless_they_are_explained(write):
    longer = MODULE | {"set": MODULE["set"] | {"optimisation": QUICK | {"steps": 3}}}
    arms = {"low": {"stages": [MODULE]}, "high": {"stages": [longer]}, "none": {}}
    study = write(arms=arms)
    with pytest.raises(
        ConfigError, match=r"unequal steps \(and examples\): low 2 \(8\), high 3 \(12\)"
    ):
        check_equal_steps(study, study.arm_runs())
    study = write(arms=arms | {"high": arms["high"] | {"unequal": "prompts learn slowly"}})
    check_equal_steps(study, study.arm_runs())
    halves = [MODULE | {"set": MODULE["set"] | {"out": "${run}/" + name}} for name in "ab"]
    study = write(arms=arms | {"high": {"stages": halves}})
    with pytest.raises(ConfigError, match=r"high 4 \(16\)"):
        check_equal_steps(study, study.arm_runs())


def test_a_stage_is_known_by_what_it_stands_on(write):
    first = NGRAM | {"set": NGRAM["set"] | {"out": "${shared}/first"}}
    second = NGRAM | {"set": NGRAM["set"] | {"base": "${shared}/first", "out": "${shared}/second"}}
    apart = NGRAM | {"set": NGRAM["set"] | {"base": "${shared}/first-2", "out": "${shared}/third"}}

    def made(*stages):
        found = digests(write(shared_stages=list(stages)).shared_run(), {})
        return {out.rpartition("/")[2]: digest for out, digest in found.items()}

    one = made(first, second, apart)
    other = made(first | {"set": first["set"] | {"order": 3}}, second, apart)
    assert one["first"] != other["first"]
    assert one["second"] != other["second"]
    assert one["third"] == other["third"] == made(apart)["third"]


def test_a_stage_stands_on_every_module_of_its_languages(write):
    first = NGRAM | {"set": NGRAM["set"] | {"out": "${shared}/modules/mn"}}
    stacked = {
        "command": "transfer",
        "yaml": "training/configs/transfer.yaml",
        "set": {"language_modules": "${shared}/modules/{language}", "out": "${shared}/moved"},
    }

    def made(order):
        changed = first | {"set": first["set"] | {"order": order}}
        found = digests(write(shared_stages=[changed, stacked]).shared_run(), {})
        return next(digest for out, digest in found.items() if out.endswith("moved"))

    assert made(2) != made(3)
    assert made(2) == made(2)


def test_an_arm_may_have_the_seeds_of_a_list(write):
    arms = {"low": {}, "high": {"values": {"order": 4}, "seeds": "${values.listed}"}}
    sizes = {"nano": {"order": 2, "listed": [7, 8, 9]}, "mini": {"order": 3, "listed": [7]}}
    runs = write(arms=arms, sizes=sizes, paired=False).arm_runs()
    assert [run.name for run in runs] == ["low-1", "high-7", "low-2", "high-8", "high-9"]
    other = write("size=mini", arms=arms, sizes=sizes, paired=False)
    assert [run.name for run in other.arm_runs()] == ["low-1", "high-7", "low-2"]
    with pytest.raises(ConfigError, match=r"high has seeds of its own; give .* paired=false"):
        write(arms=arms, sizes=sizes)
    with pytest.raises(ConfigError, match=r"seeds are \[7, 7\], each may stand once"):
        write(arms={"low": {}, "high": {"seeds": [7, 7]}}, paired=False)


def test_two_runs_never_write_to_one_place(write, tmp_path):
    stage = NGRAM | {"set": NGRAM["set"] | {"out": str(tmp_path / "same")}}
    study = write(stages=[stage])
    with pytest.raises(ConfigError, match=r"low-1 and high-1 both write to .*same"):
        check_places(study.arm_runs())


def stage_and_settings(base, corpus, out, **changes):
    values = {"base": str(base), "corpus": str(corpus), "languages": ["khk"], "out": str(out)}
    stage = Stage.model_validate(NGRAM | {"set": values | {"sentences": 3} | changes})
    return stage, stage.settings()


def test_a_killed_stage_goes_on_where_it_was(base, small_corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stage, settings = stage_and_settings(base, small_corpus, out)

    def killed(self, _):
        out.mkdir()
        (out / "checkpoint").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Stage, "make", killed)
        with pytest.raises(KeyboardInterrupt):
            make_stage(stage, settings, "one")
    assert not is_done(settings, "one")
    make_stage(stage, settings, "one")
    assert is_done(settings, "one")
    assert read_record(out).seconds > 0
    assert (out / "checkpoint").read_text() == "half", "what it had made is still there"
    assert not is_done(settings, "two")


def test_what_other_settings_made_is_removed_only_when_told(
    base, small_corpus, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    stage, settings = stage_and_settings(base, small_corpus, out)
    with monkeypatch.context() as patched:
        patched.setattr(Stage, "make", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_stage(stage, settings, "none")
    make_stage(stage, settings, "one")
    (out / "old").write_text("")
    with pytest.raises(ConfigError, match=r"was made with other settings.*remake=true"):
        make_stage(stage, settings, "two")
    assert is_done(settings, "one")
    make_stage(stage, settings, "two", remake=True)
    assert is_done(settings, "two")
    assert not (out / "old").exists()


def test_what_no_study_made_is_never_touched(base, small_corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    stage, settings = stage_and_settings(base, small_corpus, tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"mine was made by no study"):
        make_stage(stage, settings, "one", remake=True)
    assert isinstance(settings, NgramConfig)


def test_a_study_end_to_end(write):
    """A shared stage, an arm made once, a trained one, one that fails and is mended."""
    shared = NGRAM | {"set": NGRAM["set"] | {"order": 2, "out": "${shared}/counted"}}
    arms = {
        "low": {"seeded": False},
        "taught": {"stages": [MODULE, MEASURE]},
        "broken": {"values": {"language": "tur"}},
    }
    study = write(shared_stages=[shared], arms=arms)
    with pytest.raises(StudyFailed, match=r"3 runs made, 2 failed") as failure:
        run_study(study)
    assert "broken-1: " in str(failure.value)
    assert "no such text; the corpus has en, ko, mn" in str(failure.value)
    result = StudyResult.load(study.result)
    assert [(run.arm, run.seed) for run in result.runs] == [
        ("low", None),
        ("taught", 1),
        ("taught", 2),
    ]
    assert [each.run for each in result.failed] == ["broken-1", "broken-2"]
    taught = result.values("taught", "bits_per_byte", "mn")
    assert len(set(taught.values())) == 2, "other seeds learn other things"
    assert result.values("low", "bits_per_byte", "mn").keys() == {1, 2}
    assert {(run.steps, run.examples) for run in result.runs} == {(0, 0), (2, 8)}
    assert all(run.seconds > 0 for run in result.runs)
    assert result.data[str(settings(study, "low")[0].corpus)]
    assert "Traceback" in (study.folder / "broken-1" / "log.txt").read_text()
    kept = study.folder / "taught-1" / "trained.stage.json"
    before = kept.stat().st_mtime_ns
    mended = write(shared_stages=[shared], arms=arms | {"broken": {"values": {"language": "eng"}}})
    again = run_study(mended)
    assert not again.failed
    assert kept.stat().st_mtime_ns == before, "what was made is kept"
    assert [run for run in again.runs if run.arm != "broken"] == list(result.runs)
    assert again.values("broken", "bits_per_byte", "en").keys() == {1, 2}
    assert again.yaml_digest != result.yaml_digest
    assert run_study(mended).runs == again.runs


def kill_itself(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_that_is_killed_is_said(write, monkeypatch):
    run, *_ = write(arms={"low": {"seeded": False}}).arm_runs()
    monkeypatch.setattr("training.studies.study.make_stages", kill_itself)
    assert make(run, {}) == "its process was killed"


def test_a_killed_study_leaves_no_run_behind(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, os, threading, time\n"
        "from training.studies import study\n"
        "def child(file):\n"
        "    threading.Thread(target=study._end_with_parent, daemon=True).start()\n"
        "    open(file, 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        f"    context.Process(target=child, args=({str(tmp_path / 'pid')!r},)).start()\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    try:
        wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        child = int((tmp_path / "pid").read_text())
        assert alive(child)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not alive(child))


def wait_until(happens):
    for _ in range(300):
        if happens():
            return
        time.sleep(0.1)
    raise AssertionError("it never happened")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
