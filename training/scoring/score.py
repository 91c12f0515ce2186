"""Scores of bases and modules, each a ``Metric`` with its signature and the digest of its data."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from adaptation.architectures import load_base
from adaptation.bases import load_spec, resolve_base
from adaptation.rows import prompt_length
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from langmod.config import Frozen
from langmod.encoding import TextEncoder
from langmod.languages import canonical
from langmod.specs import BaseSpec, Metric
from training.data.corpus import read_pairs, read_text
from training.data.packing import Special
from training.data.task_data import LabelledText, TaskSettings, read_examples
from training.loop.trainer import SparseHead
from training.scoring.predictions import Labelling, predict
from training.scoring.pseudo_perplexity import Head, Sentence, pseudo_likelihood
from training.scoring.translation_score import corpus_scores, read_origins, translate

ScoredSplit = Literal["dev", "test"]
Place = tuple[str, ...]
"""What a language module serves: ``(language,)``, or ``(source, target)``."""
SEED = 1
SIGNATURES = {
    "classify": "labels|sklearn accuracy_score, f1_score macro",
    "tag": "whole spans in characters|seqeval",
}
Item = TypeVar("Item")


class Sample(Frozen):
    """How much of which text is scored: a seeded sample, the same for every system."""

    corpus: Path
    split: ScoredSplit
    sentences: int = 100
    """Most sentences of a language, or of a direction and origin."""

    def draw(self, items: Sequence[Item]) -> list[Item]:
        """The sample, in the order of the split."""
        if len(items) <= self.sentences:
            return list(items)
        places = sorted(random.Random(SEED).sample(range(len(items)), self.sentences))
        return [items[place] for place in places]


class Scored:
    """A base in torch, ready to be scored in fp32 with any modules."""

    def __init__(self, slotted: SlottedBase, spec: BaseSpec, folder: Path) -> None:
        self.slotted, self.spec, self.folder = slotted, spec, folder
        self.encoder = TextEncoder(folder / "tokenizer.json", spec)
        self.sparse = SparseHead(slotted.architecture.vocabulary_head())

    def place(
        self,
        tensors: Mapping[str, Tensor],
        place: Place,
        sample: Sample,
        encoder: TextEncoder | None = None,
    ) -> list[Metric]:
        """What a language module does for its language or direction; no tensors: the bare base.

        ``encoder`` is of a module that brings a vocabulary.
        """
        device = self.slotted.model.device
        named = {f"language.{name}": each.to(device) for name, each in tensors.items()}
        self.slotted.eval()
        encoder = (encoder or self.encoder).beside(prompt_length(named))
        with torch.no_grad(), self.slotted.using(FixedSource(named)):
            if len(place) == 1:
                return self._language(place[0], sample, encoder)
            return self._direction((place[0], place[1]), sample, encoder)

    def head(self, encoder: TextEncoder) -> Head:
        """Whose logits are scored of texts that an encoder read."""
        own = encoder.base == self.spec
        return Head(self.slotted.model.device, self.slotted.architecture if own else None)

    def _language(self, tag: str, sample: Sample, encoder: TextEncoder) -> list[Metric]:
        """Pseudo-perplexity and bits per byte of the language's text."""
        texts = sample.draw(read_text(sample.corpus, tag, sample.split))
        found = pseudo_likelihood(
            lambda ids, mask: self.slotted.model(input_ids=ids, attention_mask=mask).logits,
            self.sparse,
            [read_sentence(text, encoder) for text in texts],
            Special.read_by(encoder),
            self.head(encoder),
        )
        signature = f"pll|sentences:{len(texts)}|seed:{SEED}|fp32"
        values = {
            "pppl": (found.perplexity, signature),
            "bits_per_byte": (found.bits_per_byte, signature),
        }
        return text_metrics(values, tag, sample, texts)

    def _direction(
        self, direction: tuple[str, str], sample: Sample, encoder: TextEncoder
    ) -> list[Metric]:
        """chrF++ and BLEU of greedy translations, by origin of the sentences."""
        pairs = read_pairs(sample.corpus, *direction, sample.split)
        origins = read_origins(sample.corpus, direction, sample.split)
        metrics = []
        for origin in sorted(set(origins)):
            own = [pair for pair, each in zip(pairs, origins, strict=True) if each == origin]
            sources, references = zip(*sample.draw(own), strict=True)
            answers = translate(self.slotted, encoder, sources, direction)
            scores = corpus_scores(answers, references, direction[1])
            metrics += [
                Metric(
                    name=f"{name} {origin}",
                    value=value,
                    split=sample.split,
                    language="-".join(direction),
                    signature=f"{signature}|sentences:{len(sources)}|seed:{SEED}|greedy",
                    data=texts_digest([*sources, *references]),
                )
                for name, (value, signature) in scores.items()
            ]
        return metrics

    def task(
        self,
        model: Labelling,
        settings: TaskSettings,
        labels_and_slots: tuple[Sequence[str], Mapping[str, int]],
        split: ScoredSplit,
    ) -> list[Metric]:
        """The task's own metrics for each of its languages, over the whole split."""
        import sklearn

        metrics = []
        unscored = settings.without_dev if split == "dev" else ()
        for language in settings.languages:
            if language in unscored:
                continue
            examples = read_examples(settings, language, split)
            answers = predict(model, self.encoder, settings, examples, labels_and_slots)
            truths = [example.reference for example in examples]
            metrics += [
                Metric(
                    name=name,
                    value=value,
                    split=split,
                    language=canonical(language),
                    signature=f"{SIGNATURES[settings.kind]}|sklearn:{sklearn.__version__}"
                    f"|examples:{len(examples)}",
                    data=examples_digest(examples),
                )
                for name, value in settings.task().score(answers, truths).items()
            ]
        return metrics


def read_sentence(text: str, encoder: TextEncoder, by_word: bool = False) -> Sentence:
    """Reads as much of a text as the base does, with its tokens; ``by_word``: with their words."""
    encoded = encoder.encode(text, truncate=True)
    own = ~encoded.special
    end = encoded.offsets[own][:, 1].max(initial=0)
    words = np.array(encoder.words(text))[own].tolist() if by_word else None
    return Sentence(text[:end], encoded.token_ids[own].tolist(), words)


def text_metrics(
    values: Mapping[str, tuple[float, str]], tag: str, sample: Sample, texts: Sequence[str]
) -> list[Metric]:
    """Numbers with their signatures, of one language's texts."""
    return [
        Metric(
            name=name,
            value=value,
            split=sample.split,
            language=tag,
            signature=signature,
            data=texts_digest(texts),
        )
        for name, (value, signature) in values.items()
    ]


def texts_digest(texts: Sequence[str]) -> str:
    """sha256 of the scored texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def examples_digest(examples: Sequence[LabelledText]) -> str:
    """sha256 of labelled texts."""
    return texts_digest([f"{example.text}\t{example.reference}" for example in examples])


def open_base(name: str) -> Scored:
    """A described base for scoring."""
    folder = resolve_base(name)
    slotted = SlottedBase(load_base(folder)).eval().requires_grad_(False)
    return Scored(slotted, load_spec(folder), folder)
