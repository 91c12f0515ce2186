"""Scores of bases and modules, each a ``Metric`` with its signature and the digest of its data."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from torch import Tensor
from transformers import AutoTokenizer

from langmod.architectures import load_base
from langmod.bases import load_spec, resolve_base
from langmod.config import Frozen, write_atomic
from langmod.encoding import TextEncoder
from langmod.languages import canonical
from langmod.slotted import FixedSource, SlottedBase
from langmod.specs import BaseSpec, Metric
from training.corpus import read_pairs, read_text
from training.packing import Special, token_lists
from training.pseudo_perplexity import pseudo_likelihood
from training.task_data import TaskSettings, read_examples
from training.task_model import TaskModel
from training.task_run import predict
from training.trainer import SparseHead
from training.translation_score import corpus_scores, read_origins, translate

if TYPE_CHECKING:
    from training.module import ModuleConfig

ScoredSplit = Literal["dev", "test"]
SCORES_FILE = "scores.json"
SEED = 1
Item = TypeVar("Item")


class Sample(Frozen):
    """How much of a split is scored: a seeded sample, the same for every system."""

    sentences: int = 100


class Scored:
    """A base in torch, ready to be scored with any modules."""

    def __init__(self, slotted: SlottedBase, spec: BaseSpec, folder: Path) -> None:
        self.slotted, self.spec = slotted, spec
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = TextEncoder(folder / "tokenizer.json", spec)
        self.sparse = SparseHead(slotted.architecture.vocabulary_head())

    def language(
        self,
        tensors: Mapping[str, Tensor],
        corpus: Path,
        tag: str,
        split: ScoredSplit,
        sample: Sample,
    ) -> list[Metric]:
        """Pseudo-perplexity and bits per byte of a language's text through a language module."""
        texts = _sampled(read_text(corpus, tag, split), sample)
        limit = self.spec.max_tokens - 2
        ids = [each[:limit] for each in token_lists(self.tokenizer, texts)]
        named = {f"language.{name}": tensor for name, tensor in tensors.items()}

        def forward(rows: Tensor, mask: Tensor) -> Tensor:
            with self.slotted.using(FixedSource(named)):
                logits: Tensor = self.slotted.model(input_ids=rows, attention_mask=mask).logits
            return logits

        self.slotted.eval()
        pairs = list(zip(texts, ids, strict=True))
        found = pseudo_likelihood(forward, self.sparse, pairs, Special.of(self.tokenizer))
        digest = texts_digest(texts)
        signature = f"pll|sentences:{len(texts)}|seed:{SEED}|tokens:{found.tokens}|fp32"
        values = {"pppl": found.perplexity, "bits_per_byte": found.bits_per_byte}
        return [
            Metric(
                name=name, value=value, split=split, language=tag, signature=signature, data=digest
            )
            for name, value in values.items()
        ]

    def direction(
        self,
        tensors: Mapping[str, Tensor],
        corpus: Path,
        direction: tuple[str, str],
        split: ScoredSplit,
        sample: Sample,
    ) -> list[Metric]:
        """chrF++ and BLEU of greedy translations, by origin of the sentences."""
        pairs = read_pairs(corpus, *direction, split)
        origins = read_origins(corpus, direction, split)
        metrics = []
        for origin in sorted(set(origins)):
            own = [pair for pair, each in zip(pairs, origins, strict=True) if each == origin]
            chosen = _sampled(own, sample)
            sources, references = zip(*chosen, strict=True)
            self.slotted.eval()
            base = (self.slotted, self.tokenizer, self.spec)
            answers = translate(base, tensors, sources, direction)
            scores = corpus_scores(answers, references, direction[1])
            metrics += [
                Metric(
                    name=f"{name} {origin}",
                    value=value,
                    split=split,
                    language="-".join(direction),
                    signature=f"{signature}|sentences:{len(chosen)}|seed:{SEED}|greedy",
                    data=texts_digest([*sources, *references]),
                )
                for name, (value, signature) in scores.items()
            ]
        return metrics

    def task(
        self,
        model: TaskModel,
        settings: TaskSettings,
        labels_and_slots: tuple[Sequence[str], Mapping[str, int]],
        split: ScoredSplit,
    ) -> list[Metric]:
        """The task's own metrics for each of its languages, over the whole split."""
        import sklearn

        metrics = []
        for language in settings.languages:
            examples = read_examples(settings, language, split)
            answers = predict(model, self.encoder, settings, examples, labels_and_slots)
            truths = [example.reference for example in examples]
            texts = [f"{example.text}\t{example.reference}" for example in examples]
            metrics += [
                Metric(
                    name=name,
                    value=value,
                    split=split,
                    language=examples[0].language,
                    signature=f"{SIGNATURES[settings.kind]}|sklearn:{sklearn.__version__}"
                    f"|examples:{len(examples)}",
                    data=texts_digest(texts),
                )
                for name, value in settings.task().score(answers, truths).items()
            ]
        return metrics


SIGNATURES = {
    "classify": "labels|sklearn accuracy_score, f1_score macro",
    "tag": "whole spans in characters|seqeval",
}


def _sampled(items: Sequence[Item], sample: Sample) -> list[Item]:
    """A seeded sample in the order of the split."""
    if len(items) <= sample.sentences:
        return list(items)
    places = sorted(random.Random(SEED).sample(range(len(items)), sample.sentences))
    return [items[place] for place in places]


def texts_digest(texts: Sequence[str]) -> str:
    """sha256 of the scored texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def write_scores(folder: Path, metrics: Sequence[Metric]) -> None:
    """Writes ``scores.json`` beside a run; ``export module`` puts its dev rows in the manifest."""
    rows = [metric.model_dump(mode="json") for metric in metrics]
    write_atomic(folder / SCORES_FILE, json.dumps({"metrics": rows}, indent=2) + "\n")


def score_language_run(
    config: "ModuleConfig",
    scored: Scored,
    tensors: Mapping[str, Tensor],
    splits: Sequence[ScoredSplit],
) -> list[Metric]:
    """The metrics of a language run, of whichever kind of base."""
    detached = {name: tensor.detach() for name, tensor in tensors.items()}
    sample = Sample()
    metrics: list[Metric] = []
    for split in splits:
        if config.language:
            tag = canonical(config.language)
            metrics += scored.language(detached, config.text, tag, split, sample)
        else:
            ends = (canonical(config.source or ""), canonical(config.target or ""))
            metrics += scored.direction(detached, config.text, ends, split, sample)
    return metrics


def open_base(name: str) -> Scored:
    """A described base for scoring."""
    folder = resolve_base(name)
    slotted = SlottedBase(load_base(folder)).eval().requires_grad_(False)
    return Scored(slotted, load_spec(folder), folder)
