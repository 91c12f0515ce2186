"""`python -m training <command> <yaml> [key=value ...]`: the map of the training stage."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from langmod.errors import LangmodError

COMMANDS = {
    "corpus": ("corpus", "CorpusConfig", "build_corpus", "Clean and split raw text."),
    "share": ("corpus_share", "ShareConfig", "share_corpus", "Keep a part of a corpus."),
    "tokenizer": ("tokenizer", "TokenizerConfig", "train_tokenizer", "Learn one vocabulary."),
    "langid": ("langid", "LangidConfig", "fit_langid", "Fit the language identifier."),
    "base": ("base", "BaseConfig", "train_base", "Train an encoder or translator."),
    "joint": ("joint", "JointConfig", "train_joint", "Go on with objectives beside the text."),
    "adopt": ("adopt", "AdoptConfig", "adopt_encoder", "Make another's encoder a base."),
    "vocabulary": (
        "new_vocabulary",
        "VocabularyConfig",
        "replace_vocabulary",
        "Give a base other tokens.",
    ),
    "back_translate": (
        "back_translate",
        "BackTranslateConfig",
        "back_translate",
        "Make synthetic pairs of text, filtered.",
    ),
    "module": ("module", "ModuleConfig", "train_module", "Train a module or a baseline of one."),
    "score": ("scoreboard", "ScoreConfig", "score_published", "Score all modules of a base."),
    "baseline": ("baselines", "BaselineConfig", "score_baselines", "Score the modules' rivals."),
    "measure": ("studies.measure", "MeasureConfig", "measure", "Score a base or a run of any."),
    "transfer": ("studies.transfer", "TransferConfig", "transfer", "Score a task in languages."),
    "probe": ("studies.probe", "ProbeConfig", "probe", "Score the middle of an encoder."),
    "word_by_word": (
        "word_by_word",
        "WordByWordConfig",
        "score_word_by_word",
        "Score a dictionary, the outside reference of translators.",
    ),
    "ngram": ("ngram", "NgramConfig", "score_ngrams", "Score counts of n-grams, the floor."),
    "study": ("studies.study", "Study", "run_study", "Make every arm of a study."),
    "compare": ("studies.compare", "CompareConfig", "compare", "Test a study's differences."),
    "results": ("results", "ResultsConfig", "write_results", "Make the tables from the scores."),
}
"""Command → its file, the settings in its yaml, its one public function, its purpose."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Yaml = Annotated[Path, typer.Argument(help="The settings of the run.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value", show_default=False)]


def command(file: str, settings: str, function: str) -> Callable[[Path, list[str] | None], None]:
    """A command that loads its settings, runs its function and prints the result."""

    def run(yaml: Yaml, overrides: Overrides = None) -> None:
        # Imported when asked for: a corpus needs no torch.
        module = import_module(f"training.{file}")
        print(getattr(module, function)(getattr(module, settings).load(yaml, overrides or ())))

    return run


for _name, (_file, _settings, _function, _purpose) in COMMANDS.items():
    app.command(_name, help=_purpose)(command(_file, _settings, _function))


def main() -> None:
    """Runs a command; what goes wrong on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except LangmodError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
