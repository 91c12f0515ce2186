"""`langmod <command>`, or `python -m langmod <command>`: every command of the project.

Packages are named in text and opened here alone: where only the service is installed, its commands
and those of stores are all there are.
"""

from importlib import import_module
from importlib.util import find_spec

import typer

from langmod.command_line import run

PARTS = {
    "service.commands": None,
    "training.commands": None,
    "export.commands": None,
    "langmod.store_commands": None,
    "benchmarks.__main__": "bench",
}
"""Module with commands → the command that they are grouped under, None at the top."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Every command of langmod.")
for _module, _group in PARTS.items():
    if find_spec(_module.partition(".")[0]) is not None:
        app.add_typer(import_module(_module).app, name=_group)


def main() -> None:
    """The console script."""
    run(app)


if __name__ == "__main__":
    main()
