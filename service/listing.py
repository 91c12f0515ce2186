"""GET /languages, /tasks, /modules: what can be asked for, and what lies where; and the pages."""

import functools
from collections.abc import Callable
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from langmod.languages import english_name
from langmod.specs import ModuleManifest
from service.engine import Engine
from service.engines import Engines
from service.envelope import enveloped_fault
from service.pages import PAGES

Json = dict[str, Any]


def languages(engines: Engines) -> Json:
    """Each language with the bases, directions and tasks that serve it."""
    found: dict[str, Json] = {}
    for engine in engines.present:
        for tag in engine.resolver.languages():
            entry = found.setdefault(tag, {"language": tag, "name": english_name(tag), "bases": {}})
            trained = tag in engine.base.languages
            modules = [
                each.name
                for each in _manifests(engine)
                if each.role == "language" and tag in each.languages
            ]
            entry["bases"][engine.base.name] = {
                "kind": engine.base.kind,
                "trained_on": trained,
                "modules": sorted(modules),
            }
    return {"languages": [found[tag] for tag in sorted(found)]}


def tasks(engines: Engines) -> Json:
    """Each task with its kind (the endpoint that answers it), labels, languages and modules."""
    found: dict[str, Json] = {}
    for engine in engines.present:
        for each in sorted(_manifests(engine), key=lambda manifest: manifest.name):
            if each.task is None:
                continue
            new: Json = {"task": each.task, "kind": each.kind, "modules": []}
            module = {"name": each.name, "languages": each.languages, "labels": each.labels}
            found.setdefault(each.task, new)["modules"].append(module)
    return {"tasks": [found[task] for task in sorted(found)]}


def modules(engines: Engines) -> Json:
    """Each module in its latest version, whether it lies in a slot, and those that are broken."""
    return {"bases": [_base(engine) for engine in engines.present]}


def _base(engine: Engine[Any]) -> Json:
    listing = engine.resolver.index.listing()
    base, bank = engine.base, engine.bank
    return {
        "base": base.name,
        "kind": base.kind,
        "digest": base.digest[:12],
        "precision": engine.graphs.spec.precision,
        "languages": base.languages,
        "slots": {
            role: {
                "limit": slots.budget.modules,
                "bytes": slots.nbytes,
                "resident": list(slots.resident),
                **slots.events,
            }
            for role, slots in bank.roles.items()
        },
        "modules": [
            {
                "module": entry.key,
                "resident": entry.key in bank.roles[entry.manifest.role].resident,
                **_module(entry.manifest),
            }
            for _, entry in sorted(listing.entries.items())
        ],
        "broken": {name: fault.message for name, fault in sorted(listing.broken.items())},
        "waiting": engine.scheduler.waiting,
    }


SHOWN = {
    "role", "method", "languages", "source", "target", "task", "kind", "labels", "priority",
    "licence", "metrics",
}  # fmt: skip


def _module(manifest: ModuleManifest) -> Json:
    return manifest.model_dump(mode="json", include=SHOWN, exclude_none=True)


def _manifests(engine: Engine[Any]) -> list[ModuleManifest]:
    return [entry.manifest for entry in engine.resolver.index.listing().entries.values()]


def _route(answer: Callable[[Engines], Json]) -> Route:
    # An exception that left a mounted app would hang its caller until BentoML's time-out.
    @functools.wraps(answer)
    def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(answer(bentoml.get_current_service().engines))
        except Exception as error:
            return enveloped_fault(error, f"GET /{answer.__name__}")

    return Route(f"/{answer.__name__}", endpoint)


listing_app = Starlette(
    routes=[*PAGES, *(_route(answer) for answer in (languages, tasks, modules))]
)
