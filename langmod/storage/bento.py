"""Modules in a BentoML model store: a version is a BentoML model, and so is each pointer to one.

``bentoml models list`` shows a version as ``langmod-<base>-<name>:<digest>``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound
from bentoml.models import Model

from langmod.errors import ConfigError, LangmodError, Unavailable
from langmod.storage.storage import LATEST, Storage, StoredModule

BASE, MODULE, POINTS_TO = "langmod_base", "langmod_module", "langmod_points_to"
"""Keys in a BentoML model's metadata; the names alone could be read in two ways."""


class BentoStorage(Storage):
    """The modules of one base in this machine's BentoML model store (``BENTOML_HOME``).

    BentoML's own ``latest`` is the youngest version, so going back cannot be told by it. Our
    pointer is a model without files whose metadata names a digest; the youngest pointer counts,
    and going back is a new pointer.
    """

    def __init__(self, base: str) -> None:
        self.base = base

    def list_modules(self) -> dict[str, StoredModule]:
        """Reads the description of every model in the store."""
        models: dict[str, list[Model]] = {}
        with _reach():
            for model in bentoml.models.list():
                if model.info.metadata.get(BASE) == self.base:
                    models.setdefault(str(model.info.metadata[MODULE]), []).append(model)
        stored = {name: _stored(sorted(each, key=_age)) for name, each in models.items()}
        return {name: each for name, each in stored.items() if each.latest}

    def pointer(self, name: str) -> bytes:
        """What the youngest pointer says."""
        latest = _stored(sorted(self._models(name, LATEST), key=_age)).latest
        if not latest:
            raise FileNotFoundError(self._tag(name, LATEST))
        return latest

    def read(self, name: str, digest: str, file: str) -> bytes:
        """A file of the BentoML model."""
        with _reach():
            model = bentoml.models.get(f"{self._tag(name)}:{digest}")
        return Path(model.path_of(file)).read_bytes()

    def put(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """Makes the model anew; BentoML does not change one."""
        tag = f"{self._tag(name)}:{digest}"
        with _reach():
            with suppress(NotFound):
                bentoml.models.delete(tag)
            with bentoml.models.create(tag, metadata={BASE: self.base, MODULE: name}) as model:
                for file, payload in files.items():
                    Path(model.path_of(file)).write_bytes(payload)

    def point(self, name: str, digest: str) -> None:
        """Adds a pointer, then takes the older ones away."""
        older = self._models(name, LATEST)
        about = {BASE: self.base, MODULE: name, POINTS_TO: digest}
        with _reach():
            with bentoml.models.create(self._tag(name, LATEST), metadata=about):
                pass
            _delete(older)

    def remove(self, name: str) -> None:
        """Deletes the pointers, then the versions."""
        with _reach():
            _delete([*self._models(name, LATEST), *self._models(name)])

    def _models(self, name: str, *suffix: str) -> list[Model]:
        try:
            with _reach():
                found = bentoml.models.list(self._tag(name, *suffix))
        except FileNotFoundError:
            return []
        about = (self.base, name, bool(suffix))
        return [each for each in found if _about(each) == about]

    def _tag(self, name: str, *suffix: str) -> str:
        tag = "-".join(("langmod", self.base, name, *suffix))
        try:
            return bentoml.Tag(tag).name
        except ValueError as error:
            raise ConfigError(f"module {name!r} cannot lie in a BentoML store: {error}") from error


def _about(model: Model) -> tuple[object, object, bool]:
    metadata = model.info.metadata
    return metadata.get(BASE), metadata.get(MODULE), POINTS_TO in metadata


def _stored(models: list[Model]) -> StoredModule:
    """Describes a module by its models, oldest first."""
    pointers = [model for model in models if POINTS_TO in model.info.metadata]
    versions = [model for model in models if POINTS_TO not in model.info.metadata]
    latest = str(pointers[-1].info.metadata[POINTS_TO]).encode() if pointers else b""
    digests = tuple(str(model.tag.version) for model in reversed(versions))
    return StoredModule(latest, digests, tuple(map(_age, models)))


def _age(model: Model) -> float:
    return model.creation_time.timestamp()


def _delete(models: list[Model]) -> None:
    for model in models:
        with suppress(NotFound):
            bentoml.models.delete(model.tag)


@contextmanager
def _reach() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(str(error)) from error
    except LangmodError:
        raise
    except Exception as error:
        # A model that is being written, or lies there in part, fails every listing of BentoML's.
        raise Unavailable(f"the BentoML model store cannot be read: {error}") from error
