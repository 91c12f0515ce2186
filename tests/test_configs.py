"""Every shipped yaml loads against its command's settings."""

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.kinds import KINDS
from training.studies.definition import Study
from training.studies.study import check_equal_steps, check_places

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "adopt": "training.models.adopt:AdoptConfig",
    "back": "training.models.back_translate:BackTranslateConfig",
    "base": "training.models.base:BaseConfig",
    "baselines": "training.evaluation.baselines:BaselineConfig",
    "corpus": "training.data.corpus:CorpusConfig",
    "join": "training.models.halves:JoinConfig",
    "fill": "training.models.fill_mask_head:FillMaskHeadConfig",
    "joint": "training.models.joint:JointConfig",
    "measure": "training.evaluation.measure:MeasureConfig",
    "ngram": "training.evaluation.ngram:NgramConfig",
    "langid": "training.models.langid:LangidConfig",
    "probe": "training.evaluation.probe:ProbeConfig",
    "pieces": "training.models.added_pieces:PiecesConfig",
    "queue": "training.loop.queue:QueueConfig",
    "results": "training.evaluation.results:ResultsConfig",
    "scores": "training.evaluation.scoreboard:ScoreConfig",
    "share": "training.data.corpus_share:ShareConfig",
    "word": "training.evaluation.word_by_word:WordByWordConfig",
    "tokenizer": "training.models.tokenizer:TokenizerConfig",
    "transfer": "training.evaluation.transfer:TransferConfig",
    "translator": "training.models.translator:TranslatorConfig",
    "vectors": "training.evaluation.vectors:VectorsConfig",
    "vocabulary": "training.models.new_vocabulary:VocabularyConfig",
}
"""By what a file name opens with; all other files are modules."""
MODULE = "training.modules.settings:ModuleConfig"
CONFIGS = ROOT / "training" / "configs"
STUDIES = sorted((CONFIGS / "studies").glob("*.yaml"))
GROUNDS = [
    CONFIGS / "studies" / "ground" / f"{kind}.yaml"
    for kind in ("encoder", "three-languages", "translator")
]
"""What studies include: no run by itself."""
RUNS = sorted(
    {*CONFIGS.rglob("*.yaml"), *(ROOT / "examples").glob("*.yaml")} - {*STUDIES, *GROUNDS}
)
EXPERIMENTS = sorted((ROOT / "benchmarks" / "experiments").rglob("*.yaml"))


def settings_of(yaml):
    module, _, name = COMMANDS.get(yaml.stem.partition("-")[0], MODULE).partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("yaml", RUNS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_run_loads(yaml):
    assert settings_of(yaml).load(yaml)


@pytest.mark.parametrize("yaml", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_under_its_own_name(yaml):
    assert KINDS[yaml.parent.name].load(yaml).name == yaml.stem


@pytest.mark.parametrize("yaml", STUDIES, ids=lambda path: path.stem)
def test_every_study_asks_for_equal_runs_at_every_size(yaml, monkeypatch):
    monkeypatch.chdir(ROOT)
    plain = Study.load(yaml)
    assert plain.size == "nano"
    for size in plain.sizes:
        study = Study.load(yaml, [f"size={size}", "seeds=[1]"])
        assert study.name == f"{yaml.stem}-{size}"
        runs = study.arm_runs()
        check_places([study.shared_run(), *runs])
        check_equal_steps(study, runs)


def test_there_are_runs_and_experiments():
    assert {path.stem.partition("-")[0] for path in RUNS} > COMMANDS.keys()
    assert {path.parent.name for path in EXPERIMENTS} == KINDS.keys()
    assert STUDIES
