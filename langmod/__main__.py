"""`langmod <command>`, or `python -m langmod <command>`: every command of the project.

Packages are named in text and opened here alone: where only the service is installed, its commands
and those of stores are all there are.
"""

from importlib import import_module
from importlib.util import find_spec

import typer

from langmod.command_line import run

PARTS = ("service.commands", "training.commands", "export.commands", "langmod.store_commands")
"""Modules with commands, which load what a command needs when it is asked for."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Every command of langmod.")


def bench(words: typer.Context) -> None:
    """Measure speed and memory side by side: `langmod bench --help`."""
    import_module("benchmarks.__main__").app(words.args, prog_name="langmod bench")


for _part in PARTS:
    if find_spec(_part.partition(".")[0]) is not None:
        app.add_typer(import_module(_part).app)
if find_spec("benchmarks") is not None:
    # It loads every library that is measured, for its help too.
    _as_they_are = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=_as_they_are, add_help_option=False)(bench)


def main() -> None:
    """The console script."""
    run(app)


if __name__ == "__main__":
    main()
