"""``langmod list|show|diff|rollback|remove <store>``: what lies in a store, which version serves.

A store is the folder of a base or of modules, a URL of fsspec, or bentoml://<base>.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from langmod.differences import differences
from langmod.errors import ConfigError, LangmodError
from langmod.store import ModuleStore, pointed_at

app = typer.Typer()
command = partial(app.command, rich_help_panel="Stores of modules")
Place = Annotated[str, typer.Argument(metavar="STORE", help="models/<base>, a folder or a URL.")]
Reference = Annotated[str, typer.Argument(metavar="NAME[@DIGEST]")]


@command("list")
def list_modules(store: Place) -> None:
    """Every module: the version that serves, what it is for, how many versions there are."""
    opened = open_store(store)
    for name, stored in sorted(opened.list_modules().items()):
        try:
            manifest = opened.manifest(name, pointed_at(name, stored.latest))
        except LangmodError as error:
            print(f"{name}  broken: {error.message}")
            continue
        place = manifest.task or manifest.role
        tags = f"{manifest.source}-{manifest.target}" if manifest.source else manifest.languages
        shown = tags if isinstance(tags, str) else ",".join(tags)
        versions = f"{len(stored.versions)} version{'s' * (len(stored.versions) != 1)}"
        key = f"{name}@{pointed_at(name, stored.latest)}"
        print(f"{key:<48} {place:<10} {manifest.method:<11} {shown:<24} {versions}")


@command()
def show(store: Place, module: Reference) -> None:
    """The manifest of a version, of the one that serves unless another is named."""
    opened = open_store(store)
    print(opened.manifest(*version_of(opened, module)).model_dump_json(indent=2))


@command()
def diff(
    store: Place,
    module: Reference,
    other: Annotated[str | None, typer.Argument(metavar="[NAME[@DIGEST]]")] = None,
) -> None:
    """What differs between two versions; of one name: the one before and the one that serves."""
    opened = open_store(store)
    name, digest = version_of(opened, module)
    if other is None:
        first = digest if "@" in module else opened.previous(name)
        before, after = opened.load(name, first), opened.load(name)
    else:
        before, after = opened.load(name, digest), opened.load(*version_of(opened, other))
    print(f"{before.key} -> {after.key}")
    for line in differences(before, after):
        print(f"  {line}")


@command()
def rollback(
    store: Place,
    name: str,
    digest: Annotated[str | None, typer.Argument(help="Else the version before.")] = None,
) -> None:
    """Let another version of a module serve, at the next look of every running service."""
    print(f"{name}@{open_store(store).rollback(name, digest)} serves")


@command()
def remove(store: Place, name: str) -> None:
    """Take a module away with all its versions."""
    opened = open_store(store)
    versions = opened.versions(name)
    opened.remove(name)
    print(f"{name} is gone: {', '.join(versions)}")


def open_store(place: str) -> ModuleStore:
    """The store at a place; a base's folder stands for its modules.

    Raises:
        ConfigError: no such folder or kind of URL.
    """
    folder = Path(place)
    if (folder / "base.json").is_file():
        return ModuleStore(folder / "modules")
    if "://" not in place and not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; a store elsewhere is named by a URL")
    return ModuleStore(place)


def version_of(store: ModuleStore, reference: str) -> tuple[str, str]:
    """Name and digest of ``name`` or ``name@digest``."""
    name, _, digest = reference.partition("@")
    return name, digest or store.latest(name)
