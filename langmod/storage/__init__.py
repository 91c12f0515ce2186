"""Places where a store's files can lie: a folder, any fsspec URL, a BentoML model store."""

from pathlib import Path

from langmod.storage.folder import FolderStorage
from langmod.storage.storage import LATEST, MANIFEST, TENSORS, TOKENIZER, Storage, StoredModule

__all__ = [
    "LATEST",
    "MANIFEST",
    "TENSORS",
    "TOKENIZER",
    "FolderStorage",
    "Storage",
    "StoredModule",
    "open_storage",
]


def open_storage(place: str | Path) -> Storage:
    """A folder's path, ``bentoml://<base>``, or a URL of fsspec such as ``s3://bucket/modules``.

    Raises:
        ConfigError: no such kind of URL, or the package that reads it is not installed.
    """
    scheme, _, rest = str(place).partition("://")
    if not rest:
        return FolderStorage(Path(place))
    if scheme == "file":
        return FolderStorage(Path(rest))
    if scheme == "bentoml":
        from langmod.storage.bento import BentoStorage

        return BentoStorage(rest)
    from langmod.storage.url import UrlStorage

    return UrlStorage(str(place))
