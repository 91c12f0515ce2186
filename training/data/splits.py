"""Third step of `training corpus`: train, dev and test by content, so that nothing leaks.

Two rows belong together when a side of one is a side of the other, ignoring case, spaces and
punctuation. No sentence, on either side of a pair, is ever in two splits.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import Field

from langmod.config import Frozen
from training.data.sources import SPLITS, Row, Split


class SplitOptions(Frozen):
    """How much of the undeclared text is held back for evaluation."""

    dev: float = Field(default=0.01, ge=0, lt=0.5)
    test: float = Field(default=0.01, ge=0, lt=0.5)
    max_rows: int = 1000
    """Most rows of dev, and of test, for one language or one pair of languages."""


class Components:
    """Union-find over sentence keys (Tarjan 1975, path halving)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        """The key that stands for the component of this one: the smallest in it."""
        parent = self._parent
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    def union(self, keys: Sequence[str]) -> None:
        """Puts all keys in one component."""
        roots = {self.find(key) for key in keys}
        smallest = min(roots)
        for root in roots:
            self._parent[root] = smallest


def sentence_key(text: str) -> str:
    """A text without case, spaces and punctuation; the text itself where nothing is left."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (c for c in folded if c.isalnum() or unicodedata.category(c)[0] == "M")
    return "".join(kept) or text


def split_rows(rows: Iterable[Row], options: SplitOptions) -> tuple[list[Row], list[Row]]:
    """Gives every row its split.

    Declared test rows win over declared dev rows, both win over everything else: a row that
    shares a sentence with them without being declared likewise is a leak. The remaining rows go
    component by component: to train when a member is declared so, else by the hash of the
    smallest sentence key.

    Returns:
        The rows with their split set, and the leaks.
    """
    keyed = [(row, [sentence_key(text) for text in row.texts]) for row in rows]
    test = {key for row, keys in keyed if row.split == "test" for key in keys}
    dev = {
        key for row, keys in keyed if row.split == "dev" and test.isdisjoint(keys) for key in keys
    }
    done: list[Row] = []
    leaks: list[Row] = []
    free: list[tuple[Row, list[str]]] = []
    for row, keys in keyed:
        if row.split == "test":
            done.append(row)
        elif not test.isdisjoint(keys):
            leaks.append(row)
        elif row.split == "dev":
            done.append(row)
        elif not dev.isdisjoint(keys):
            leaks.append(row)
        else:
            free.append((row, keys))
    return done + split_free(free, options), leaks


def split_free(rows: Sequence[tuple[Row, list[str]]], options: SplitOptions) -> list[Row]:
    """Splits rows that share nothing with declared evaluation text, component by component."""
    components = Components()
    for _, keys in rows:
        components.union(keys)
    sizes: dict[str, Counter[str]] = {}
    fixed: set[str] = set()
    for row, keys in rows:
        root = components.find(keys[0])
        sizes.setdefault(root, Counter())[row.label] += 1
        if row.split == "train":
            fixed.add(root)
    chosen = choose(sizes, fixed, options)
    return [row._replace(split=chosen[components.find(keys[0])]) for row, keys in rows]


def choose(
    sizes: dict[str, Counter[str]], fixed: set[str], options: SplitOptions
) -> dict[str, Split]:
    """The split of each component, in the order of their hashes until dev and test are full."""
    filled: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    chosen: dict[str, Split] = {}
    for position, root in sorted((hash_position(root), root) for root in sizes):
        split: Split = "train"
        if root not in fixed and position < options.test + options.dev:
            split = "test" if position < options.test else "dev"
        full = any(
            filled[split][label] + count > options.max_rows for label, count in sizes[root].items()
        )
        chosen[root] = "train" if full else split
        filled[chosen[root]].update(sizes[root])
    return chosen


def hash_position(key: str) -> float:
    """A place in [0, 1) that depends on the text alone."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
