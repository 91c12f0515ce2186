"""Small texts and corpora that the tests of `training` make themselves."""

import random
from pathlib import Path

from training.data.corpus import CorpusConfig

SYLLABLES = {
    "mn": ["ула", "ан", "баа", "тар", "хот", "ын", "хүн", "мор", "өвө", "дөр"],
    "en": ["the", "ri", "ver", "to", "wn", "ho", "rse", "day", "ing", "er"],
    "ko": ["한", "국", "사", "람", "은", "집", "에", "서", "물", "을"],
}


def sentences(tag: str, count: int, seed: int = 0) -> list[str]:
    """Different made-up sentences of five to nine words in the letters of a language."""
    generator = random.Random(f"{tag}{seed}")
    made: dict[str, None] = {}
    while len(made) < count:
        words = [
            "".join(generator.choices(SYLLABLES[tag], k=generator.randint(1, 3)))
            for _ in range(generator.randint(5, 9))
        ]
        made[f"{' '.join(words).capitalize()} {generator.randint(1900, 2099)}."] = None
    return list(made)


def write_lines(path: Path, lines: list[str]) -> Path:
    """A text file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def source(path: Path, languages: list[str], **fields: object) -> dict[str, object]:
    """A source as a yaml would give it."""
    values = {"name": path.stem, "path": str(path), "languages": languages}
    return values | {"licence": "CC0 1.0", "url": "made by the tests"} | fields


def config(output: Path, *sources: dict[str, object], **fields: object) -> CorpusConfig:
    """A corpus config over these sources."""
    return CorpusConfig.model_validate({"output": str(output), "sources": sources} | fields)


def small_config(folder: Path, count: int = 300) -> CorpusConfig:
    """Three languages of text and Mongolian pairs with English, declared train, dev and test."""
    sources = [
        source(write_lines(folder / f"{tag}.txt", sentences(tag, count)), [tag])
        for tag in SYLLABLES
    ]
    for seed, split in enumerate(("train", "dev", "test"), 1):
        pairs = zip(sentences("en", 40, seed), sentences("mn", 40, seed), strict=True)
        path = write_lines(folder / f"pairs-{split}.tsv", [f"{a}\t{b}\tbook" for a, b in pairs])
        extra = {"format": "tsv", "fields": [0, 1], "origin": 2, "split": split}
        sources.append(source(path, ["eng", "khk"], **extra))
    return config(folder / "corpus", *sources, splits={"dev": 0.1, "test": 0.1})
