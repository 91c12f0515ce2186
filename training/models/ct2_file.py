"""Reads the weights of a CTranslate2 model, the ``model.bin`` that its converters write.

Layout, little-endian (CTranslate2's ``ModelSpec`` serialisation, binary version 6): version; name
and revision of the specification; a list of tensors (name, rank, sizes, type, bytes); a list of
aliases (name, name of the tensor it stands for). A string is its length, zero byte included, and
its bytes.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langmod.errors import DataError

TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""numpy's name of each type, in the order of CTranslate2's ``DataType``."""


class _Reader:
    """A place in the bytes of a file, moved on by whatever is read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from("<" + form, self.content, self.place)
        self.place += struct.calcsize("<" + form)
        return int(value)

    def text(self) -> str:
        size = self.number("H")
        found = self.content[self.place : self.place + size - 1].decode()
        self.place += size
        return found

    def tensor(self) -> NDArray[Any]:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = np.dtype(TYPES[self.number("B")])
        size = self.number("I")
        found = np.frombuffer(self.content, dtype, size // dtype.itemsize, self.place)
        self.place += size
        return found.reshape(shape)


def read_ct2(parts: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Every tensor of a model by its full name, aliases included, as views of the file's bytes.

    ``parts`` are the pieces of one file that was cut for transport, in their order.

    Raises:
        DataError: the bytes do not have the layout above.
    """
    reader = _Reader(b"".join(part.read_bytes() for part in parts))
    try:
        reader.number("I")
        reader.text()
        reader.number("I")
        found = {reader.text(): reader.tensor() for _ in range(reader.number("I"))}
        aliases = [(reader.text(), reader.text()) for _ in range(reader.number("I"))]
    except (struct.error, ValueError, IndexError) as error:
        raise DataError(parts[0], None, f"is no CTranslate2 model: {error}") from error
    return found | {alias: found[name] for alias, name in aliases}
