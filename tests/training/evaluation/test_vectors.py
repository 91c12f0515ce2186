"""Vectors scored by retrieval and similarity, on a nano base."""

import json
import lzma

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from adaptation.architectures import load_base
from langmod.errors import DataError
from tests.text import SENTENCES
from tests.training.runs import module_config
from training.evaluation.vectors import VectorsConfig, score_vectors
from training.modules.module import train_module
from training.modules.vector_reader import VectorReader


def table(path, rows):
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines("\t".join(row) + "\n" for row in rows)


def config_of(base, folder, **changes):
    values = {
        "base": str(base),
        "languages": ["kor"],
        "parallel": f"{folder}/eng-{{language}}.{{split}}.tsv.xz",
        "similarity": f"{folder}/{{language}}.{{split}}.tsv.xz",
        "similarity_languages": ["kor"],
        "out": folder / "scores.json",
    }
    return VectorsConfig.model_validate(values | changes)


def mean_vector(model, tokenizer, text):
    with torch.no_grad():
        hidden = model.base_model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    vector = hidden.mean(0).numpy()
    return vector / np.linalg.norm(vector)


@pytest.fixture
def texts(tmp_path):
    """Every sentence beside itself but for two that change places; five pairs with a number."""
    own = list(SENTENCES["ko"])[:6]
    others = [own[1], own[0], *own[2:]]
    rows = [(a, b, "flores") for a, b in zip(own, others, strict=True)]
    table(tmp_path / "eng-kor.dev.tsv.xz", [*rows, ("x", "y", "ui")])
    judged = [(str(n), own[n], own[n + 1]) for n in range(5)]
    table(tmp_path / "kor.dev.tsv.xz", judged)
    return tmp_path, judged


def test_the_nearest_vectors_and_their_ranks_are_torchs(base, texts):
    folder, judged = texts
    scores = score_vectors(config_of(base, folder))
    found = {(each.name, each.language): each.value for each in scores.metrics}
    assert found["retrieval@1", "en-ko"] == found["retrieval@1", "ko-en"] == pytest.approx(4 / 6)
    model, tokenizer = load_base(base).model.eval(), AutoTokenizer.from_pretrained(base)
    products = [
        mean_vector(model, tokenizer, a) @ mean_vector(model, tokenizer, b) for _, a, b in judged
    ]
    assert found["spearman", "ko"] == pytest.approx(spearmanr(range(5), products).statistic)
    assert json.loads((folder / "scores.json").read_text())["metrics"]


def test_texts_go_through_the_modules_of_their_languages(base, small_corpus, tmp_path):
    train_module(
        module_config(tmp_path, base, "ko", language="ko", corpus=small_corpus, score=False)
    )
    modules = str(tmp_path / "{language}")
    served, bare = VectorReader(str(base), modules), VectorReader(str(base))
    for code, changed in (("kor", True), ("eng", False)):
        pair = [each.vectors(SENTENCES["ko"][:2], code) for each in (served, bare)]
        assert np.allclose(*pair, atol=1e-6) != changed, code


def test_a_table_of_other_columns_is_named(base, tmp_path):
    table(tmp_path / "eng-kor.dev.tsv.xz", [("a", "b", "flores"), ("a", "b")])
    with pytest.raises(DataError, match=r"eng-kor\.dev\.tsv\.xz.*2.*2 columns, wanted 3"):
        score_vectors(config_of(base, tmp_path, similarity_languages=[]))
