"""``training measure``: what a study scores at the end of an arm: any base, bare or with a module.

A language is scored by pseudo-perplexity in both its forms, bits per byte and unknown tokens; a
direction by its translations, which are kept for tests that compare sentence by sentence.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adaptation.bases import SPEC_FILE
from adaptation.methods import METHODS
from adaptation.rows import prompt_length
from adaptation.slot_sources import FixedSource
from langmod.config import Frozen, RunConfig
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BASE_FOLDER, RUN_FILE, SETTINGS_FILE, Metric, ModuleRun, write_scores
from training.data.corpus import read_pairs, read_text
from training.data.packing import Special
from training.evaluation.translations import Translations, save_translations
from training.modules.runs import own_encoder
from training.modules.settings import ModuleConfig
from training.scoring.pseudo_perplexity import PseudoLikelihood, Sentence, pseudo_likelihood
from training.scoring.reference_likelihood import reference_bits_per_byte
from training.scoring.score import (
    SEED,
    Sample,
    Scored,
    open_base,
    read_sentence,
    text_metrics,
    texts_digest,
)
from training.scoring.translation_score import (
    Pieces,
    corpus_scores,
    read_origins,
    translate,
)


class MeasureConfig(RunConfig):
    """One run of ``training measure``."""

    model: Path
    """A base, or a finished run of ``training module``."""
    corpus: Path
    languages: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    """Directions of a translator, such as ``mn-en``."""
    split: Literal["dev", "test"] = "test"
    sentences: int = 100
    """Most sentences of a language, or of a direction and origin."""
    by_word: bool = True
    """Whether to score also with the rest of a word hidden, which takes as long again."""
    origins: tuple[str, ...] = ()
    """Origins of the pairs that are translated; all when empty."""
    out: Path


class Measures(Frozen):
    """What was measured."""

    metrics: tuple[Metric, ...]

    def __str__(self) -> str:
        return "\n".join(f"{m.name} {m.language}: {m.value:.4f}" for m in self.metrics)


class Model:
    """A base and the module that it is scored with, if any."""

    def __init__(self, path: Path) -> None:
        """Opens a base's folder or a run's.

        Raises:
            ConfigError: it is neither, or a fine-tuned base that was not kept.
        """
        self.tensors: Mapping[str, Tensor] = {}
        if (path / SPEC_FILE).is_file():
            self.scored, encoder = open_base(str(path)), None
        elif (path / RUN_FILE).is_file():
            self.scored, encoder = self._open_run(path)
        else:
            raise ConfigError(f"model: {path} holds neither a base nor a finished run")
        self.encoder = (encoder or self.scored.encoder).beside(prompt_length(self.tensors))

    def _open_run(self, path: Path) -> tuple[Scored, TextEncoder | None]:
        run = ModuleRun.load(path)
        if run.train == "base":
            if not (path / BASE_FOLDER / SPEC_FILE).is_file():
                raise ConfigError(
                    f"model: the base of {path} was not kept; train it with keep=true"
                )
            return open_base(str(path / BASE_FOLDER)), None
        config = ModuleConfig.load(path / SETTINGS_FILE)
        scored = open_base(str(path / BASE_FOLDER) if run.train == "both" else config.base)
        _, tensors = METHODS[run.method].read(path / run.name, scored.slotted.architecture)
        device = scored.slotted.model.device
        self.tensors = {f"language.{name}": each.to(device) for name, each in tensors.items()}
        return scored, own_encoder(config, scored.spec)

    def likelihood(self, sentences: list[Sentence]) -> PseudoLikelihood:
        """The likelihood of sentences that its encoder read."""
        slotted = self.scored.slotted
        with torch.no_grad(), slotted.using(FixedSource(self.tensors)):
            return pseudo_likelihood(
                lambda ids, mask: slotted.model(input_ids=ids, attention_mask=mask).logits,
                self.scored.sparse,
                sentences,
                Special.read_by(self.encoder),
                self.scored.head(self.encoder),
            )

    def reference_bits_per_byte(
        self, pairs: Sequence[tuple[str, str]], direction: tuple[str, str]
    ) -> float:
        """Bits per byte of the references given their sources, a token after the other."""
        slotted = self.scored.slotted
        with torch.no_grad(), slotted.using(FixedSource(self.tensors)):
            return reference_bits_per_byte(slotted, self.encoder, pairs, direction)

    def translations(self, sources: list[str], direction: tuple[str, str]) -> list[str]:
        """Greedy ones."""
        slotted = self.scored.slotted
        with torch.no_grad(), slotted.using(FixedSource(self.tensors)):
            return translate(slotted, self.encoder, sources, direction)


def measure(config: MeasureConfig) -> Measures:
    """Scores a model; writes ``scores.json``, and ``translations.json`` for directions.

    Raises:
        ConfigError: no such model.
        DataError: the corpus lacks a language or direction.
    """
    model = Model(config.model)
    sample = Sample(corpus=config.corpus, split=config.split, sentences=config.sentences)
    metrics = [
        m for tag in config.languages for m in language_metrics(model, tag, sample, config.by_word)
    ]
    metrics += extremes(metrics) if len(config.languages) > 1 else []
    translations = []
    for name in config.directions:
        translations += translate_sample(model, name, sample, config.origins)
        metrics += reference_metrics(model, name, sample)
    if translations:
        pieces = Pieces(model.scored.folder)
        metrics += [
            m for each in translations for m in translation_metrics(each, config.split, pieces)
        ]
    config.out.mkdir(parents=True, exist_ok=True)
    if translations:
        save_translations(config.out, translations)
    write_scores(config.out, metrics)
    return Measures(metrics=tuple(metrics))


def language_metrics(
    model: Model, language: str, sample: Sample, both: bool = True
) -> list[Metric]:
    """Pseudo-perplexity, in both forms if asked, bits per byte, share of unknown tokens."""
    tag = canonical(language)
    texts = sample.draw(read_text(sample.corpus, tag, sample.split))
    alone = [read_sentence(text, model.encoder) for text in texts]
    found = model.likelihood(alone)
    about = f"sentences:{len(texts)}|seed:{SEED}|fp32"
    values = {
        "pppl": (found.perplexity, f"pll|{about}"),
        "bits_per_byte": (found.bits_per_byte, f"pll|{about}"),
        "unknown_rate": (unknown_rate(alone, model.encoder), f"tokens|{about}"),
    }
    if both:
        by_word = model.likelihood([read_sentence(each, model.encoder, True) for each in texts])
        values |= {
            "pppl_word_l2r": (by_word.perplexity, f"pll-word-l2r|{about}"),
            "bits_per_byte_word_l2r": (by_word.bits_per_byte, f"pll-word-l2r|{about}"),
        }
    return text_metrics(values, tag, sample, texts)


def extremes(metrics: Sequence[Metric]) -> list[Metric]:
    """Bits per byte of the language that is known worst, and of the one that is known best."""
    rows = sorted((m for m in metrics if m.name == "bits_per_byte"), key=lambda m: m.value)
    about = {
        "language": "all",
        "signature": f"{rows[0].signature}|of:{','.join(sorted(str(m.language) for m in rows))}",
        "data": texts_digest([m.data for m in sorted(rows, key=lambda m: str(m.language))]),
    }
    return [
        rows[-1].model_copy(update={"name": "worst_bits_per_byte", **about}),
        rows[0].model_copy(update={"name": "best_bits_per_byte", **about}),
    ]


def unknown_rate(sentences: list[Sentence], encoder: TextEncoder) -> float:
    """Unknown tokens as a share of all: in plain text the only control token there can be."""
    ids = [number for each in sentences for number in each.ids]
    return sum(number in encoder.control_ids for number in ids) / max(len(ids), 1)


def direction_of(name: str) -> tuple[str, str]:
    """``khk-eng`` as ``("mn", "en")``."""
    source, _, target = name.partition("-")
    return canonical(source), canonical(target)


def translate_sample(
    model: Model, name: str, sample: Sample, origins: Sequence[str] = ()
) -> list[Translations]:
    """The sampled pairs of a direction, by origin."""
    direction, found = direction_of(name), []
    for origin, own in pairs_by_origin(sample, direction, origins).items():
        sources, references = (list(side) for side in zip(*sample.draw(own), strict=True))
        found.append(
            Translations(
                direction="-".join(direction),
                origin=origin,
                data=texts_digest([*sources, *references]),
                references=references,
                hypotheses=model.translations(sources, direction),
            )
        )
    return found


def pairs_by_origin(
    sample: Sample, direction: tuple[str, str], wanted: Sequence[str] = ()
) -> dict[str, list[tuple[str, str]]]:
    """The pairs of the sample's split by where they come from; ``wanted``: not from elsewhere."""
    pairs = read_pairs(sample.corpus, *direction, sample.split)
    origins = read_origins(sample.corpus, direction, sample.split)
    found: dict[str, list[tuple[str, str]]] = {}
    for pair, origin in zip(pairs, origins, strict=True):
        if not wanted or origin in wanted:
            found.setdefault(origin, []).append(pair)
    return dict(sorted(found.items()))


def reference_metrics(model: Model, name: str, sample: Sample) -> list[Metric]:
    """Bits per byte of the references, which tells translators apart that all translate badly."""
    direction, metrics = direction_of(name), []
    for origin, own in pairs_by_origin(sample, direction).items():
        pairs = sample.draw(own)
        value = model.reference_bits_per_byte(pairs, direction)
        about = f"teacher-forced|sentences:{len(pairs)}|seed:{SEED}|fp32"
        metrics += text_metrics(
            {f"reference_bits_per_byte {origin}": (value, about)},
            "-".join(direction),
            sample,
            [text for pair in pairs for text in pair],
        )
    return metrics


def translation_metrics(
    found: Translations, split: Literal["dev", "test"], pieces: Pieces, how: str = "greedy"
) -> list[Metric]:
    """chrF++, BLEU and BLEU over pieces of a direction and origin; ``how`` they were made."""
    target = found.direction.partition("-")[2]
    scores = corpus_scores(found.hypotheses, found.references, target)
    scores["spbleu"] = pieces.bleu(found.hypotheses, found.references)
    about = f"sentences:{len(found.references)}|seed:{SEED}|{how}"
    return [
        Metric(
            name=f"{name} {found.origin}",
            value=value,
            split=split,
            language=found.direction,
            signature=f"{signature}|{about}",
            data=found.data,
        )
        for name, (value, signature) in scores.items()
    ]
