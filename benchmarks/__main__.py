"""`python -m benchmarks <command>`: measures experiments and writes their tables."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.experiment import Experiment, Result
from benchmarks.kinds import KINDS
from benchmarks.tables import RESULTS, write_tables
from benchmarks.tables import table as table_of
from langmod.errors import LangmodError

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Yaml = Annotated[Path, typer.Argument(help="The experiment.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value", show_default=False)]


def _command(kind: type[Experiment]) -> Callable[[Path, list[str] | None], None]:
    def measure(yaml: Yaml, overrides: Overrides = None) -> None:
        result = Result.of(kind.load(yaml, overrides or ()))
        result.save(RESULTS / kind.kind / f"{result.experiment.name}.json")
        print(table_of(result))

    return measure


for _name, _kind in KINDS.items():
    app.command(_name, help=_kind.__doc__)(_command(_kind))


@app.command()
def detection(yaml: Yaml, overrides: Overrides = None) -> None:
    """Tell the languages of short texts by ours and by other libraries."""
    from benchmarks.detection.tables import keep_detection

    print(f"tables written to {keep_detection(yaml, overrides or ())}")


@app.command()
def table(readme: Path = Path("README.md")) -> None:
    """Write the tables of all results into the README."""
    print(f"{write_tables(readme)} tables written to {readme}")


def main() -> None:
    """Runs a command; what goes wrong on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except LangmodError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
