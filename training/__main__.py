"""`python -m training <command> <yaml> [key=value ...]`: the map of the training stage."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from langmod.errors import LangmodError
from training.commands import COMMANDS, Command

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Yaml = Annotated[Path, typer.Argument(help="The settings of the run.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value", show_default=False)]


def action(command: Command) -> Callable[[Path, list[str] | None], None]:
    """What loads a command's settings, runs it and prints the result."""

    def run(yaml: Yaml, overrides: Overrides = None) -> None:
        print(command.run(command.settings.load(yaml, overrides or ())))

    return run


for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.purpose)(action(_command))


def main() -> None:
    """Runs a command; what goes wrong on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except LangmodError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
