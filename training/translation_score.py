"""How well a direction is translated: greedy output of the slotted model, chrF++ and BLEU."""

from collections.abc import Sequence
from pathlib import Path

import sacrebleu
import torch

from langmod.encoding import TextEncoder
from langmod.rows import Rows
from langmod.slotted import SlottedBase

BATCH = 25
CHARACTER_LANGUAGES = ("ja", "ko", "zh")
"""BLEU counts characters here: the word tokenizers of sacrebleu need packages or downloads."""


def translate(
    slotted: SlottedBase,
    encoder: TextEncoder,
    sentences: Sequence[str],
    direction: tuple[str, str],
) -> list[str]:
    """Greedy translations by Hugging Face's ``generate``, through the modules in use."""
    source, target = direction
    spec, device = encoder.base, slotted.model.device
    rows = [
        torch.from_numpy(encoder.encode_sentence(each, source, truncate=True).token_ids)
        for each in sentences
    ]
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    answers = [""] * len(rows)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        batch = torch.nn.utils.rnn.pad_sequence(
            [rows[place] for place in places], True, spec.pad_id
        ).to(device)  # [B, T]
        rows_read = slotted.enter(
            Rows(batch, slotted.architecture.words(batch), (batch != spec.pad_id).long())
        )
        output = slotted.model.generate(
            inputs_embeds=rows_read.words,
            attention_mask=rows_read.mask,
            forced_bos_token_id=spec.language_tokens[target],
            num_beams=1,
            do_sample=False,
            max_length=min(spec.max_tokens, 2 * batch.shape[1] + 10),
        )  # [B, T]
        for place, row in zip(places, output.tolist(), strict=True):
            answers[place] = encoder.decode(row).strip()
    return answers


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], target: str
) -> dict[str, tuple[float, str]]:
    """chrF++ and BLEU, each with sacrebleu's signature."""
    tokenize = "char" if target.partition("-")[0] in CHARACTER_LANGUAGES else "13a"
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
