"""What every command line does alike: a yaml with overrides in, a fault as one line out."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from langmod.errors import LangmodError

Yaml = Annotated[Path, typer.Argument(help="The settings of the run.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value", show_default=False)]


def run(app: Callable[[], object]) -> None:
    """Runs a command; what goes wrong on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except LangmodError as error:
        _fail(error.message)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if find_spec(package) is not None:
            raise
        _fail(f"{package} is not installed; run: pip install -e '.[train,export,serve]'")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
