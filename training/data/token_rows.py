"""Many rows of token ids in two flat arrays, kept on disk between the starts of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenRows:
    """Rows of unequal length: row i is ``ids[ends[i] - lengths[i] : ends[i]]``."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | NDArray[np.int32]]) -> "TokenRows":
        """From lists of ids."""
        arrays = [np.asarray(row, np.int32) for row in rows]
        lengths = np.array([len(row) for row in arrays], np.int64)
        return cls(np.concatenate(arrays or [np.empty(0, np.int32)]), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        start = self.ends[row - 1] if row else 0
        return self.ids[start : self.ends[row]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[N]`` tokens of each row."""
        return np.diff(self.ends, prepend=0)

    def chosen(self, rows: NDArray[np.int64]) -> "TokenRows":
        """Those rows, in that order."""
        return TokenRows.of([self[int(row)] for row in rows])


@dataclass(frozen=True)
class PairRows:
    """Rows of sources with their targets, for one direction and kind of text."""

    sources: TokenRows
    targets: TokenRows

    def __len__(self) -> int:
        return len(self.sources)

    def save(self, path: Path) -> None:
        """Writes one ``.npz``; a run that is killed meanwhile leaves no half of it behind."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp.npz")
        sides = {"source": self.sources, "target": self.targets}
        arrays = {
            f"{side}_{name}": getattr(rows, name)
            for side, rows in sides.items()
            for name in ("ids", "ends")
        }
        np.savez(draft, **arrays)
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> "PairRows":
        """Reads what ``save`` wrote."""
        with np.load(path) as found:
            return cls(
                *(
                    TokenRows(found[f"{side}_ids"], found[f"{side}_ends"])
                    for side in ("source", "target")
                )
            )

    def fitting(self, longest: tuple[int, int]) -> "PairRows":
        """Pairs of which neither side has more tokens than allowed, and neither is blank."""
        source, target = self.sources.lengths, self.targets.lengths
        fits = (source > 2) & (source <= longest[0]) & (target > 1) & (target <= longest[1])
        rows = np.flatnonzero(fits)
        return PairRows(self.sources.chosen(rows), self.targets.chosen(rows))
