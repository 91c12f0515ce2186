"""`python -m training <command> <yaml> [key=value ...]`: the map of the training stage."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from langmod.errors import LangmodError

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Yaml = Annotated[Path, typer.Argument(help="The settings of the run.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value", show_default=False)]


@app.callback()
def training() -> None:
    """Corpora, tokenizers, language identifiers: one command, one yaml, one output folder."""


@app.command()
def corpus(yaml: Yaml, overrides: Overrides = None) -> None:
    """Clean and split raw text into a corpus folder with a card."""
    from training.corpus import CorpusConfig, build_corpus

    card = build_corpus(CorpusConfig.load(yaml, overrides or ()))
    print(card.count_table(), card.size_table(), f"digest {card.digest}", sep="\n\n")


@app.command()
def tokenizer(yaml: Yaml, overrides: Overrides = None) -> None:
    """Learn one joint subword vocabulary and measure it on every language."""
    from training.tokenizer import TokenizerConfig, train_tokenizer

    print(train_tokenizer(TokenizerConfig.load(yaml, overrides or ())).table())


@app.command()
def langid(yaml: Yaml, overrides: Overrides = None) -> None:
    """Fit the language identifier and score it on held-back text."""
    from training.langid import LangidConfig, fit_langid

    print(fit_langid(LangidConfig.load(yaml, overrides or ())).table())


@app.command()
def base(yaml: Yaml, overrides: Overrides = None) -> None:
    """Train a multilingual encoder or translator; a killed run goes on where it was."""
    from training.base import BaseConfig, train_base

    print(train_base(BaseConfig.load(yaml, overrides or ())).model_dump_json(indent=2))


@app.command()
def module(yaml: Yaml, overrides: Overrides = None) -> None:
    """Train a language or task module, or one of its baselines."""
    from training.module import ModuleConfig, train_module

    print(train_module(ModuleConfig.load(yaml, overrides or ())).model_dump_json(indent=2))


@app.command()
def score(yaml: Yaml, overrides: Overrides = None) -> None:
    """Score every published module of a base, and the bare base."""
    from training.scoreboard import ScoreConfig, score_published

    config = ScoreConfig.load(yaml, overrides or ())
    print(f"{len(score_published(config).rows)} systems scored; see {config.out}")


@app.command()
def baseline(yaml: Yaml, overrides: Overrides = None) -> None:
    """Score what task modules must beat."""
    from training.baselines import BaselineConfig, score_baselines

    config = BaselineConfig.load(yaml, overrides or ())
    print(f"{len(score_baselines(config))} rivals scored; see {config.out}")


@app.command()
def results() -> None:
    """Write the tables of docs/results.md and the README from the score files."""
    from training.results import ResultsConfig, write_results

    print(write_results(ResultsConfig()))


def main() -> None:
    """Runs a command; what goes wrong on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except LangmodError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
