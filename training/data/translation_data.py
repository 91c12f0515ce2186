"""What a translator reads: pairs of a corpus by kind of text and direction, as token ids."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field
from tokenizers import Tokenizer

from langmod.config import Frozen
from langmod.digests import SHORT
from langmod.errors import ConfigError, DataError
from langmod.languages import canonical
from training.data.corpus import corpus_digest, pair_file, read_lines, read_text
from training.data.pair_batches import Drawn, shares_of
from training.data.piece_noise import PieceNoise
from training.data.token_rows import PairRows, TokenRows

OTHER = "running"
"""The kind of text of every origin that no other kind names."""


class Denoising(Frozen):
    """Sentences of a language rebuilt from their noised selves."""

    languages: tuple[str, ...]
    share: float = Field(default=0.2, gt=0, lt=1)
    """Of all pairs of the run."""
    sentences: int = 250_000
    """Of each language at most."""
    characters: tuple[int, int] = (25, 230)
    """Of a sentence, shortest and longest."""
    noise: PieceNoise = PieceNoise()


class TranslationData(Frozen):
    """Which pairs a run draws, and how often."""

    corpus: Path
    pivot: str = "en"
    languages: tuple[str, ...]
    """Each paired with the pivot."""
    into_pivot: float = Field(default=1.0, ge=0, le=1)
    """Share of the pairs whose target is the pivot; the others are drawn out of it."""
    kinds: Mapping[str, tuple[str, ...]]
    """Kind of text → the origins in the corpus that are of it; all others are ``running``."""
    shares: Mapping[str, float]
    """Kind of text → its share of the pairs that are no denoising."""
    exponent: float = Field(default=0.6, ge=0, le=1)
    """Languages are drawn by their number of pairs to this power, within each kind."""
    longest: tuple[int, int] = (80, 60)
    """Tokens of a source and of a target at most; longer pairs are left out."""
    denoising: Denoising | None = None

    def kind_of(self, origin: str) -> str:
        """The kind of text that an origin is of."""
        return next((kind for kind, names in self.kinds.items() if origin in names), OTHER)


class SideEncoders:
    """The tokenizers of both sides, and the language tokens that a target starts with."""

    def __init__(self, source: Tokenizer, target: Tokenizer, tokens: Mapping[str, int]) -> None:
        self.source, self.target, self.tokens = source, target, tokens
        both = (source.to_str() + target.to_str()).encode()
        self.digest = hashlib.sha256(both).hexdigest()
        """Of both tokenizers: what they cut is kept under it."""

    def pairs(self, rows: Sequence[tuple[str, str]]) -> PairRows:
        """Sources between their special tokens, targets bare."""
        sources = self.source.encode_batch([source for source, _ in rows])
        targets = self.target.encode_batch([target for _, target in rows], add_special_tokens=False)
        return PairRows(
            TokenRows.of([each.ids for each in sources]),
            TokenRows.of([each.ids for each in targets]),
        )


def drawn_pairs(data: TranslationData, encoders: SideEncoders, cache: Path) -> list[Drawn]:
    """Every kind and direction of a run with its share; tokens are kept in ``cache``.

    Raises:
        DataError: a corpus without the languages asked for.
        ConfigError: shares that name no kind, or kinds without a share.
    """
    pivot = canonical(data.pivot)
    folder = cache / f"{corpus_digest(data.corpus)[:SHORT]}-{encoders.digest[:SHORT]}"
    groups: dict[tuple[str, str], PairRows] = {}
    for source, target in directions(data):
        for kind, rows in by_kind(data, (source, target), encoders, folder).items():
            fitting = rows.fitting(data.longest)
            if len(fitting):
                groups[f"{source}-{target}", kind] = fitting
    unknown = {kind for _, kind in groups} ^ set(data.shares)
    if unknown:
        raise ConfigError(f"shares: {', '.join(sorted(unknown))} is no kind here, or has no share")
    denoised = data.denoising.share if data.denoising else 0.0
    shares: dict[tuple[str, str], float] = {}
    for into, part in ((True, data.into_pivot), (False, 1 - data.into_pivot)):
        own = {g: len(r) for g, r in groups.items() if g[0].endswith(f"-{pivot}") == into}
        found = shares_of(own, data.shares, data.exponent)
        shares |= {group: share * part * (1 - denoised) for group, share in found.items()}
    drawn = [
        Drawn(f"{name} {kind}", rows, encoders.tokens[name.partition("-")[2]], shares[name, kind])
        for (name, kind), rows in groups.items()
    ]
    return [*drawn, *denoising_pairs(data, encoders, folder)]


def directions(data: TranslationData) -> Iterator[tuple[str, str]]:
    """Source and target of everything that is drawn."""
    pivot = canonical(data.pivot)
    for tag in map(canonical, data.languages):
        if data.into_pivot:
            yield tag, pivot
        if data.into_pivot < 1:
            yield pivot, tag


def by_kind(
    data: TranslationData, direction: tuple[str, str], encoders: SideEncoders, folder: Path
) -> dict[str, PairRows]:
    """The training pairs of a direction by kind of text; read from tokens where they are kept."""
    rows: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, target, origin in read_pairs_with_origin(data.corpus, direction):
        rows[data.kind_of(origin)].append((source, target))
    found = {}
    for kind, pairs in rows.items():
        path = folder / f"{'-'.join(direction)}-{kind}-{len(pairs)}.npz"
        if not path.is_file():
            encoders.pairs(pairs).save(path)
        found[kind] = PairRows.load(path)
    return found


def read_pairs_with_origin(corpus: Path, direction: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Source, target and origin of every training pair of two languages.

    Raises:
        DataError: the corpus has no such pairs.
    """
    straight = corpus / pair_file("-".join(direction), "train")
    turned = corpus / pair_file("-".join(direction[::-1]), "train")
    path = straight if straight.is_file() else turned
    if not path.is_file():
        raise DataError(straight, None, "no such pairs")
    cells = [line.split("\t") for line in read_lines(path)]
    if path == straight:
        return [(left, right, origin) for left, right, origin in cells]
    return [(right, left, origin) for left, right, origin in cells]


def denoising_pairs(data: TranslationData, encoders: SideEncoders, folder: Path) -> list[Drawn]:
    """Each denoised language's sentences, as source and target alike."""
    settings = data.denoising
    if settings is None:
        return []
    found = []
    least, most = settings.characters
    for tag in map(canonical, settings.languages):
        texts = [
            text for text in read_text(data.corpus, tag, "train") if least <= len(text) <= most
        ]
        texts = texts[: settings.sentences]
        path = folder / f"{tag}-denoising-{len(texts)}.npz"
        if not path.is_file():
            encoders.pairs([(text, text) for text in texts]).save(path)
        rows = PairRows.load(path).fitting(data.longest)
        share = settings.share / len(settings.languages)
        found.append(Drawn(f"{tag} denoising", rows, encoders.tokens[tag], share, settings.noise))
    return found
