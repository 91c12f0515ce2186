"""`python -m export {describe|graph|module}`: `langmod` {describe|export|publish}."""

import typer

from export.commands import describe, graph, module
from langmod.command_line import run

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
for _command in (describe, graph, module):
    app.command()(_command)

if __name__ == "__main__":
    run(app)
