"""The card of a corpus: sources, licences, what each filter took, sizes and digest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from langmod.config import Frozen
from langmod.languages import english_name


class SourceCard(Frozen):
    """Where a source comes from and under which licence."""

    name: str
    place: str
    licence: str
    url: str
    skipped_filters: tuple[str, ...]


class Count(Frozen):
    """What became of the rows of one source in one language or pair of languages."""

    source: str
    languages: str
    read: int
    dropped: Mapping[str, int]
    """How many rows each filter dropped, and ``leak`` those that would have put a sentence in two
    splits."""
    kept: int


class Size(Frozen):
    """How much text one file holds."""

    file: str
    languages: str
    split: str
    sentences: int
    characters: int
    bytes: int


class About(Frozen):
    """What a card says of where its rows come from and how they were chosen."""

    sources: tuple[SourceCard, ...]
    filters: tuple[str, ...]
    """The filters in the order in which they ran."""
    counts: tuple[Count, ...]
    config: Mapping[str, object]


class CorpusCard(About):
    """What a corpus folder holds and where it comes from; written as card.json and card.md."""

    name: str
    digest: str
    """sha256 over the names and contents of all text files, in sorted order."""
    sizes: tuple[Size, ...]

    @classmethod
    def load(cls, corpus: Path) -> "CorpusCard":
        """Reads the card of a corpus folder."""
        return cls.model_validate_json((corpus / "card.json").read_text("utf-8"))

    def markdown(self) -> str:
        """The card for people."""
        parts = (
            f"# Corpus {self.name}\n\nDigest `{self.digest}`.",
            "## Kept and dropped\n\n" + self.count_table(),
            "## Sizes\n\n" + self.size_table(),
            "## Sources\n\n" + self.source_table(),
        )
        return "\n\n".join(parts) + "\n"

    def __str__(self) -> str:
        return f"{self.count_table()}\n\n{self.size_table()}\n\ndigest {self.digest}"

    def count_table(self) -> str:
        """One line per source and language, one column per filter that took something."""
        names = [name for name in self.filters if any(name in c.dropped for c in self.counts)]
        lines: list[tuple[str | int, ...]] = [
            (
                count.source,
                count.languages,
                count.read,
                *(count.dropped.get(name, 0) for name in names),
                count.kept,
            )
            for count in self.counts
        ]
        return table(["source", "languages", "read", *names, "kept"], lines)

    def size_table(self) -> str:
        """One line per language and split."""
        lines = [
            (
                describe_languages(size.languages),
                size.split,
                size.sentences,
                size.characters,
                size.bytes,
            )
            for size in self.sizes
        ]
        return table(["languages", "split", "sentences", "characters", "bytes"], lines)

    def source_table(self) -> str:
        """One line per source."""
        lines = [
            [source.name, source.licence, source.url, ", ".join(source.skipped_filters)]
            for source in self.sources
        ]
        return table(["source", "licence", "origin", "filters skipped"], lines)


def describe_languages(label: str) -> str:
    """``en-mn`` as ``English – Mongolian (en-mn)``."""
    return f"{' – '.join(english_name(tag) for tag in label.split('-'))} ({label})"


def table(header: Sequence[str], lines: Sequence[Sequence[str | int]]) -> str:
    """A Markdown table, numbers with thousands separators and to the right."""
    numeric = [isinstance(cell, int) for cell in (lines[0] if lines else header)]
    rule = ["--:" if right else "---" for right in numeric]
    shown = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *shown])
