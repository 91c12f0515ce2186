"""MinHash index of the near-duplicate filter: one per language, character 5-grams, datasketch."""

import numpy as np
from datasketch import MinHash, MinHashLSH

PERMUTATIONS = 64
SHINGLE = 5


class NearDuplicates:
    """Remembers texts and says whether a new one is unlike all of them.

    A MinHash signature estimates the Jaccard similarity of two shingle sets (Broder 1997);
    locality-sensitive hashing finds the candidates without comparing all pairs.
    """

    def __init__(self, threshold: float) -> None:
        self._index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        self._empty = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
        self._folded: set[str] = set()

    def add(self, text: str) -> bool:
        """True, and remembers the text, unless a text like it is already here."""
        folded = "".join(c for c in text.casefold() if c.isalnum())
        if folded in self._folded:
            return False
        signature = self._empty.copy()
        signature.update_batch(shingles(folded))
        if self._index.query(signature):
            return False
        self._index.insert(len(self._folded), signature, check_duplication=False)
        self._folded.add(folded)
        return True


def shingles(text: str) -> list[int]:
    """32-bit hashes of the distinct character 5-grams; a shorter text is one shingle."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    width = min(SHINGLE, max(1, len(points)))
    hashes = np.zeros(max(0, len(points) - width + 1), dtype=np.uint64)
    for offset in range(width):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + points[offset : offset + len(hashes)]
    distinct: list[int] = np.unique(hashes >> np.uint64(32)).tolist()
    return distinct
