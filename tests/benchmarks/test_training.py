"""Training loops side by side: who reads how much text."""

import pytest
import torch

from benchmarks.experiment import Result
from benchmarks.kinds.training import (
    GROUPS,
    LINES,
    OURS,
    Clock,
    TrainingSpeed,
    stock_rows,
    texts_of,
)
from benchmarks.tables import table
from tests.bases import make_tokenizer
from tests.training.corpora import small_config
from training.data.corpus import build_corpus


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    (folder / "tokenizer").mkdir()
    make_tokenizer(folder / "tokenizer", "encoder")
    config = small_config(folder)
    build_corpus(config)
    return TrainingSpeed(
        name="t", title="T", size="nano", tokenizer=folder / "tokenizer", corpus=config.output,
        languages=("khk", "eng"), block_tokens=48, batch_size=4, warm_up=1, steps=2,
        repetitions=1, arms=(f"{OURS}, bf16", f"{LINES}, fp32"),
    )  # fmt: skip


def test_every_loop_reads_the_same_text(asked):
    tokenizer, sentences = texts_of(asked)
    groups, lines = (stock_rows(asked, loop) for loop in (GROUPS, LINES))
    assert {len(row["input_ids"]) for row in groups} == {48}
    assert len(lines) == len(sentences)
    assert all(sum(row["attention_mask"]) == len(row["input_ids"]) <= 48 for row in lines)
    assert lines[0]["input_ids"][:47] == tokenizer(sentences[0])["input_ids"][:47]


def test_padding_is_no_text():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    clock = Clock(lambda rows: {"attention_mask": mask})
    assert clock([])["attention_mask"] is mask
    assert (clock.text, clock.positions) == ([3], [6])


def test_loops_are_measured_in_turns_and_compared(asked):
    result = Result.of(asked)
    ours, lines = result.points
    assert 0 < lines.median("text in a row") != ours.median("text in a row") <= 1
    seconds, speed = (ours.median(name) for name in ("s a step", "tokens/s"))
    read = ours.median("text in a row") * 4 * 48
    assert speed * seconds == pytest.approx(read, rel=0.02)
    assert "| `training base`, bf16 |" in table(result)
    assert "| run_mlm, a line a row, fp32 |" in table(result)
