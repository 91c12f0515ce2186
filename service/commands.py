"""``langmod serve``: the service in a process of its own, by BentoML's own command."""

import os
import sys

import typer

app = typer.Typer()


@app.command(rich_help_panel="Service")
def serve(host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve the bases and modules of a folder over HTTP."""
    service = ["serve", "service.service:Langmod", "--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *service])
