"""The interpolations of a study's yaml, resolved late: each run has its own arm and seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from langmod.errors import ConfigError

ONCE = ("each", "sizes")
"""What a stage in a yaml says of how often it is made, and no command reads."""


def merged(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What a yaml includes, the yaml itself, then the overrides; nothing resolved.

    Raises:
        ConfigError: a file that is not there.
    """
    if not path.is_file():
        raise ConfigError(f"no config file {path} (working directory {Path.cwd()})")
    own = OmegaConf.load(path)
    included = [path.parent / each for each in own.get("include", ())]
    for file in included:
        if not file.is_file():
            raise ConfigError(f"{path}: include: no file {file}")
    parts = [*map(OmegaConf.load, included), own, OmegaConf.from_dotlist(list(overrides))]
    found = OmegaConf.to_container(OmegaConf.merge(*parts))
    return {str(key): value for key, value in found.items()}


def context_of(raw: Mapping[str, Any], arm: Mapping[str, Any]) -> DictConfig:
    """A yaml in which ``values`` are the study's, then the size's, then the arm's.

    Raises:
        ConfigError: the yaml does not have this size.
    """
    size, sizes = raw.get("size"), raw.get("sizes") or {}
    if sizes and size not in sizes:
        raise ConfigError(f"size is {size!r}; the yaml has {', '.join(sizes)}")
    parts = [raw.get("values") or {}, sizes.get(size) or {}, arm.get("values") or {}]
    return OmegaConf.create({**raw, "values": OmegaConf.merge(*parts)})


def resolved_stages(raw: Mapping[str, Any], arm: str) -> list[dict[str, Any]]:
    """The ``stages`` of a yaml for one arm.

    One with ``each`` stands once for each of its items, one with ``sizes`` only at these.

    Raises:
        ConfigError: an interpolation that leads nowhere.
    """
    context = context_of(raw, raw["arms"].get(arm) or {})
    found, size = [], raw["size"]
    try:
        for stage in context["stages"]:
            if size not in stage.get("sizes", [size]):
                continue
            for item in stage.get("each", [None]):
                context["each"] = item
                fields = plain(stage)
                found.append({key: fields[key] for key in fields if key not in ONCE})
    except OmegaConfBaseException as error:
        raise ConfigError(f"{arm}: {error}") from error
    return found


def plain(value: Any) -> Any:
    """A part of a yaml as plain lists, mappings and values, interpolations resolved."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
