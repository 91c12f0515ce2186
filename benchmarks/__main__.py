"""`python -m benchmarks <command>`: measures experiments and writes their tables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langmod.errors import LangmodError

if TYPE_CHECKING:
    from benchmarks.result import Measured
    from benchmarks.systems import Way
    from benchmarks.tables import Kind

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Yaml = Annotated[Path, typer.Argument(help="The experiment.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value", show_default=False)]


@app.command()
def load(yaml: Yaml, overrides: Overrides = None) -> None:
    """Ask the service over HTTP, started for this."""
    _run(yaml, overrides, "load")


@app.command()
def engine(yaml: Yaml, overrides: Overrides = None) -> None:
    """Ask the engines in this process."""
    _run(yaml, overrides, "engine")


@app.command()
def many_modules(yaml: Yaml, overrides: Overrides = None) -> None:
    """Ask for many modules with more and fewer slots for them."""
    from benchmarks.experiment import ManyModules
    from benchmarks.many_modules import measure_many_modules

    _keep("many-modules", measure_many_modules(ManyModules.load(yaml, overrides or ())))


@app.command()
def churn(yaml: Yaml, overrides: Overrides = None) -> None:
    """Put modules in and out again and look at the memory of this process."""
    from benchmarks.churn import measure_churn
    from benchmarks.experiment import Churn

    _keep("churn", measure_churn(Churn.load(yaml, overrides or ())))


@app.command()
def slots(yaml: Yaml, overrides: Overrides = None) -> None:
    """Run an encoder's body with modules in its slots and without slots in turns."""
    from benchmarks.experiment import SlotsCost
    from benchmarks.slots_cost import measure_slots

    _keep("slots", measure_slots(SlotsCost.load(yaml, overrides or ())))


@app.command()
def rivals(yaml: Yaml, overrides: Overrides = None) -> None:
    """Translate by our engine and by other systems on the same weights in turns."""
    from benchmarks.experiment import Rivals
    from benchmarks.rivals.measure import measure_rivals

    _keep("rivals", measure_rivals(Rivals.load(yaml, overrides or ())))


@app.command()
def encoder_rivals(yaml: Yaml, overrides: Overrides = None) -> None:
    """Encode rows of many modules by our graphs and by other libraries in turns."""
    from benchmarks.experiment import EncoderRivals
    from benchmarks.rivals.measure import measure_encoders

    _keep("encoder-rivals", measure_encoders(EncoderRivals.load(yaml, overrides or ())))


@app.command()
def fill_mask_rivals(yaml: Yaml, overrides: Overrides = None) -> None:
    """Fill masks by our engine and by other libraries on the same weights in turns."""
    from benchmarks.experiment import FillMaskRivals
    from benchmarks.rivals.measure_offline import measure_fillers

    _keep("fill-mask-rivals", measure_fillers(FillMaskRivals.load(yaml, overrides or ())))


@app.command()
def back_translation(yaml: Yaml, overrides: Overrides = None) -> None:
    """Translate sentences of a corpus offline by our engine and by CTranslate2 in turns."""
    from benchmarks.experiment import BackTranslation
    from benchmarks.rivals.measure_offline import measure_back_translation

    _keep("back-translation", measure_back_translation(BackTranslation.load(yaml, overrides or ())))


@app.command()
def training(yaml: Yaml, overrides: Overrides = None) -> None:
    """Train by our loop and by those of Hugging Face's example in turns."""
    from benchmarks.experiment import TrainingSpeed
    from benchmarks.training_speed import measure_training

    _keep("training", measure_training(TrainingSpeed.load(yaml, overrides or ())))


@app.command()
def over_http(yaml: Yaml, overrides: Overrides = None) -> None:
    """Ask the service over HTTP, and its engines or an empty service, in turns."""
    from benchmarks.over_http import measure_over_http
    from benchmarks.serving_experiments import OverHttp

    _keep("over-http", measure_over_http(OverHttp.load(yaml, overrides or ())))


@app.command()
def first_requests(yaml: Yaml, overrides: Overrides = None) -> None:
    """Ask for modules that lie on disk and for resident ones in turns."""
    from benchmarks.first_requests import measure_first_requests
    from benchmarks.serving_experiments import FirstRequests

    _keep("first-requests", measure_first_requests(FirstRequests.load(yaml, overrides or ())))


@app.command()
def starts(yaml: Yaml, overrides: Overrides = None) -> None:
    """Start the service and an empty one in turns, and look at their memory."""
    from benchmarks.serving_experiments import Starts
    from benchmarks.starts import measure_starts

    _keep("starts", measure_starts(Starts.load(yaml, overrides or ())))


@app.command()
def table(readme: Path = Path("README.md")) -> None:
    """Write the tables of all results into the README."""
    from benchmarks.tables import write_tables

    print(f"{write_tables(readme)} tables written to {readme}")


def _run(yaml: Path, overrides: list[str] | None, way: "Way") -> None:
    from benchmarks.experiment import Experiment
    from benchmarks.measure import measure

    _keep(way, measure(Experiment.load(yaml, overrides or ()), way))


def _keep(kind: "Kind", result: "Measured") -> None:
    from benchmarks.tables import RESULTS, table

    result.save(RESULTS / kind / f"{result.experiment.name}.json")
    print(table(result))


def main() -> None:
    """Runs a command; what goes wrong on purpose is one line on stderr and exit code 1."""
    try:
        app()
    except LangmodError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
