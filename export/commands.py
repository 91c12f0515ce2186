"""The commands of the export stage: a base described, its graphs, modules published."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from langmod.specs import Precision, Role

app = typer.Typer()
command = partial(app.command, rich_help_panel="Export")
Base = Annotated[Path, typer.Argument(help="Folder of the base, described by base.json.")]
Tags = Annotated[list[str] | None, typer.Option(help="Repeat for several.")]


@command()
def describe(
    base: str, name: str, licence: str, language: Annotated[list[str], typer.Option()]
) -> None:
    """Make a folder or hub id servable: base.json, tokenizer.json; `mn` or `mn=khk_Cyrl`."""
    from adaptation.bases import describe_base, fetch_base

    pairs = dict(each.split("=", 1) for each in language if "=" in each)
    folder = fetch_base(base, Path("models") / name)
    spec = describe_base(folder, name, pairs or language, licence)
    print(f"{folder} is base {spec.name} {spec.digest[:12]}, a {spec.kind}")


@command("export")
def graph(base: Base, precision: Precision = "int8") -> None:
    """Export every graph of a base, check it against torch, write graph.json."""
    from export.graph import export_graphs

    for parity in export_graphs(base, precision).parity:
        print(f"{parity.graph}: {parity.max_difference:.2e} of {parity.tolerance:.0e} allowed")


@command("compare-precisions")
def compare(  # noqa: PLR0913, PLR0917  (each option is a choice of its own)
    base: Base,
    texts: Annotated[str, typer.Option(help="Path with {language}: a table of label and text.")],
    language: Annotated[list[str], typer.Option(help="Repeat for several.")],
    module: Annotated[str | None, typer.Option(help="A published one that labels texts.")] = None,
    precision: Precision = "int8",
    out: Annotated[Path | None, typer.Option(help="Where the numbers go, as JSON.")] = None,
) -> None:
    """Run real texts through torch and the graphs: vectors, and a module's labels."""
    from export.real_text import compare_precisions, save_comparison

    found = compare_precisions(base, precision, texts, language, module)
    if out is not None:
        save_comparison(found, out)
    print(found)


@command("publish")
def module(  # noqa: PLR0913, PLR0917  (each option is one fact that a foreign checkpoint does not tell)
    base: Base,
    source: Annotated[
        list[str], typer.Option("--from", help="A run, PEFT or AdapterHub folder, or a hub id.")
    ],
    name: str = "",
    role: Annotated[Role | None, typer.Option(help="Else task where there is a head.")] = None,
    language: Tags = None,
    direction: Annotated[str | None, typer.Option(help="Translator: source-target.")] = None,
    task: Annotated[str | None, typer.Option(help="What the head answers: topic, ner …")] = None,
    labels: Annotated[str, typer.Option(help="In the head's order, with commas.")] = "",
    head: Annotated[bool, typer.Option(help="Whether a checkpoint's head is taken.")] = True,
    licence: str = "unknown",
    priority: int = 0,
    store: Annotated[
        str | None, typer.Option(help="Folder or URL; else the base's modules.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Check all and list every fault.")] = False,
) -> None:
    """Check checkpoints against the base and its graphs, and publish them."""
    from export.checkpoint import ModuleDescription, resolve_checkpoint
    from export.module import examine, export_module

    start, _, end = (direction or "").partition("-")
    described = ModuleDescription(
        name=name, role=role, languages=tuple(language or ()), source=start or None,
        target=end or None, task=task, labels=tuple(filter(None, labels.split(","))), head=head,
        licence=licence,
    )  # fmt: skip
    faulty = False
    for each in source:
        folder = resolve_checkpoint(each)
        if dry_run:
            found = examine(folder, base, described, priority, store)
            faulty |= bool(found.faults)
            print("\n".join(found.report()))
            continue
        print(export_module(folder, base, described, priority, store))
    if faulty:
        raise typer.Exit(1)
