"""How well a direction is translated: greedy output of the slotted model, chrF++ and BLEU."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import sacrebleu
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from langmod.slotted import FixedSource, SlottedBase
from langmod.specs import BaseSpec

BATCH = 25
CHARACTER_LANGUAGES = ("ja", "ko", "zh")
"""BLEU counts characters here: the word tokenizers of sacrebleu need packages or downloads."""


def translate(
    base: tuple[SlottedBase, PreTrainedTokenizerBase, BaseSpec],
    tensors: Mapping[str, Tensor],
    sentences: Sequence[str],
    direction: tuple[str, str],
) -> list[str]:
    """Greedy translations by Hugging Face's ``generate``, through a direction's module or none."""
    slotted, tokenizer, spec = base
    source, target = (spec.language_tokens[tag] for tag in direction)
    order = sorted(range(len(sentences)), key=lambda place: len(sentences[place]))
    answers = [""] * len(sentences)
    named = {f"language.{name}": tensor for name, tensor in tensors.items()}
    limit = spec.max_tokens - 2
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        ids = tokenizer([sentences[place] for place in places], add_special_tokens=False)
        rows = [torch.tensor([source, *each[:limit], spec.eos_id]) for each in ids["input_ids"]]
        batch = torch.nn.utils.rnn.pad_sequence(rows, True, spec.pad_id)  # [B, T]
        with torch.no_grad(), slotted.using(FixedSource(named)):
            output = slotted.model.generate(
                input_ids=batch,
                attention_mask=(batch != spec.pad_id).long(),
                forced_bos_token_id=target,
                num_beams=1,
                do_sample=False,
                max_length=min(spec.max_tokens, 2 * batch.shape[1] + 10),
            )
        texts = tokenizer.batch_decode(output, skip_special_tokens=True)
        for place, text in zip(places, texts, strict=True):
            answers[place] = text.strip()
    return answers


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], target: str
) -> dict[str, tuple[float, str]]:
    """chrF++ and BLEU, each with sacrebleu's signature."""
    tokenize = "char" if target in CHARACTER_LANGUAGES else "13a"
    metrics = {"chrf++": sacrebleu.CHRF(word_order=2), "bleu": sacrebleu.BLEU(tokenize=tokenize)}
    return {
        name: (
            float(metric.corpus_score(list(hypotheses), [list(references)]).score),
            str(metric.get_signature()),
        )
        for name, metric in metrics.items()
    }


def read_origins(corpus: Path, direction: tuple[str, str], split: str) -> list[str]:
    """Where each pair of a split comes from, in the order of ``read_pairs``."""
    names = [f"{a}-{b}" for a, b in (direction, direction[::-1])]
    paths = [corpus / "parallel" / name / f"{split}.tsv" for name in names]
    path = next(each for each in paths if each.is_file())
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [line.split("\t")[2] for line in lines]
