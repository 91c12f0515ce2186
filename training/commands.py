"""The commands of the training stage by name, in text: running one loads what it needs alone."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import typer

from langmod.command_line import Overrides, Yaml
from langmod.config import RunConfig


class Command(NamedTuple):
    """One command: a yaml of settings in, one folder or file out."""

    file: str
    """Inside ``training``, with dots."""
    settings_name: str
    function: str
    purpose: str

    @property
    def settings(self) -> type[RunConfig]:
        """The class of the settings in its yaml."""
        return self._named(self.settings_name)

    def run(self, settings: RunConfig) -> object:
        """Calls its one public function, whose result the command line prints."""
        return self._named(self.function)(settings)

    def _named(self, name: str) -> Any:
        return getattr(import_module(f"training.{self.file}"), name)


COMMANDS: Mapping[str, Command] = {
    "corpus": Command("data.corpus", "CorpusConfig", "build_corpus", "Clean and split raw text."),
    "share": Command(
        "data.corpus_share", "ShareConfig", "share_corpus", "Keep a part of a corpus."
    ),
    "tokenizer": Command(
        "models.tokenizer", "TokenizerConfig", "train_tokenizer", "Learn one vocabulary."
    ),
    "langid": Command(
        "models.langid", "LangidConfig", "fit_langid", "Fit the language identifier."
    ),
    "base": Command("models.base", "BaseConfig", "train_base", "Train an encoder or translator."),
    "joint": Command(
        "models.joint", "JointConfig", "train_joint", "Go on with objectives beside the text."
    ),
    "adopt": Command(
        "models.adopt", "AdoptConfig", "adopt_encoder", "Make another's encoder a base."
    ),
    "join": Command(
        "models.halves", "JoinConfig", "join_halves", "Make a translator of two halves."
    ),
    "pieces": Command(
        "models.added_pieces", "PiecesConfig", "add_pieces", "Give a translator's decoder pieces."
    ),
    "translator": Command(
        "models.translator",
        "TranslatorConfig",
        "train_translator",
        "Train a stage of a translator of two halves.",
    ),
    "queue": Command(
        "loop.queue", "QueueConfig", "run_queue", "Do what is left of a list of runs."
    ),
    "queue_status": Command(
        "loop.queue", "QueueConfig", "queue_status", "Say what is done, under way and left."
    ),
    "fill_mask_head": Command(
        "models.fill_mask_head",
        "FillMaskHeadConfig",
        "train_fill_mask_head",
        "Train a head for masked words over a frozen encoder.",
    ),
    "vocabulary": Command(
        "models.new_vocabulary",
        "VocabularyConfig",
        "replace_vocabulary",
        "Give a base other tokens.",
    ),
    "back_translate": Command(
        "models.back_translate",
        "BackTranslateConfig",
        "back_translate",
        "Make synthetic pairs of text, filtered.",
    ),
    "module": Command(
        "modules.module", "ModuleConfig", "train_module", "Train a module or a baseline of one."
    ),
    "score": Command(
        "evaluation.scoreboard", "ScoreConfig", "score_published", "Score all modules of a base."
    ),
    "baseline": Command(
        "evaluation.baselines", "BaselineConfig", "score_baselines", "Score the modules' rivals."
    ),
    "measure": Command(
        "evaluation.measure", "MeasureConfig", "measure", "Score a base or a run of any."
    ),
    "transfer": Command(
        "evaluation.transfer", "TransferConfig", "transfer", "Score a task in languages."
    ),
    "probe": Command("evaluation.probe", "ProbeConfig", "probe", "Score the middle of an encoder."),
    "vectors": Command(
        "evaluation.vectors",
        "VectorsConfig",
        "score_vectors",
        "Score a sentence encoder's vectors.",
    ),
    "word_by_word": Command(
        "evaluation.word_by_word",
        "WordByWordConfig",
        "score_word_by_word",
        "Score a dictionary, the outside reference of translators.",
    ),
    "ngram": Command(
        "evaluation.ngram", "NgramConfig", "score_ngrams", "Score counts of n-grams, the floor."
    ),
    "study": Command("studies.study", "Study", "run_study", "Make every arm of a study."),
    "compare": Command(
        "studies.compare", "CompareConfig", "compare", "Test a study's differences."
    ),
    "results": Command(
        "evaluation.results", "ResultsConfig", "write_results", "Make the tables from the scores."
    ),
}

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


def action(command: Command) -> Callable[[Path, list[str] | None], None]:
    """What loads a command's settings, runs it and prints the result."""

    def run(yaml: Yaml, overrides: Overrides = None) -> None:
        print(command.run(command.settings.load(yaml, overrides or ())))

    return run


for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.purpose, rich_help_panel="Training")(action(_command))
