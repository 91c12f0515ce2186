"""Translations of the slotted model, and how good they are: chrF++, BLEU, BLEU over pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import sacrebleu
import torch
from pydantic import Field
from tokenizers import Tokenizer

from adaptation.rows import Rows
from adaptation.slotted import SlottedBase
from langmod.config import Frozen
from langmod.digests import files_digest
from langmod.encoding import TextEncoder
from training.data.corpus import read_lines

BATCH = 25
CHARACTER_LANGUAGES = ("ja", "ko", "zh")
"""BLEU counts characters here: the word tokenizers of sacrebleu need packages or downloads."""


class Search(Frozen):
    """How a translation is chosen."""

    mode: Literal["greedy", "beam", "sample"] = "greedy"
    beams: int = Field(default=4, ge=1)
    """Beams of mode beam."""
    top_k: int = Field(default=10, ge=1)
    """How many of the likeliest tokens mode sample draws from."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of mode sample; below 1 it keeps to the likelier tokens."""
    seed: int = 1
    """Seed of mode sample."""

    def options(self) -> dict[str, object]:
        """The same options as Hugging Face's ``generate`` names them."""
        if self.mode == "sample":
            drawn = {"top_k": self.top_k, "temperature": self.temperature}
            return {"do_sample": True, "num_beams": 1, **drawn}
        return {"do_sample": False, "num_beams": self.beams if self.mode == "beam" else 1}


GREEDY = Search()


def translate(
    slotted: SlottedBase,
    encoder: TextEncoder,
    sentences: Sequence[str],
    direction: tuple[str, str],
    search: Search = GREEDY,
) -> list[str]:
    """Translations by Hugging Face's ``generate``, through the modules in use."""
    if search.mode == "sample":
        torch.manual_seed(search.seed)
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
            **search.options(),
            max_length=min(spec.most_written, 2 * batch.shape[1] + 10),
        )  # [B, T]
        for place, row in zip(places, output.tolist(), strict=True):
            answers[place] = encoder.decode(row).strip()
    return answers


class Pieces:
    """The cut of texts that a BLEU like FLORES' spBLEU is counted over: a base's own pieces.

    FLORES' own SentencePiece model is a download; numbers over another vocabulary are not
    comparable with it, and the signature says whose pieces they are.
    """

    def __init__(self, base: Path) -> None:
        file = base / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(file))
        self.signature = f"pieces:{files_digest([file])[:12]} (not FLORES' spm)"

    def cut(self, texts: Sequence[str]) -> list[str]:
        """Each text as its pieces with spaces between them."""
        self._tokenizer.no_truncation()
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [" ".join(each.tokens) for each in found]

    def bleu(self, hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
        """BLEU over pieces, with sacrebleu's signature and whose pieces they are."""
        metric = sacrebleu.BLEU(tokenize="none", force=True)
        score = metric.corpus_score(self.cut(hypotheses), [self.cut(references)]).score
        return float(score), f"{metric.get_signature()}|{self.signature}"


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
    return [line.split("\t")[2] for line in read_lines(path)]
