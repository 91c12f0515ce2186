"""Training loops side by side: who reads how much text, and the table of it."""

import pytest
import torch

from benchmarks.experiment import TrainingArm, TrainingSpeed
from benchmarks.side_by_side import TrainingResult, TrainingRun
from benchmarks.tables import table
from benchmarks.training_speed import Counting, measure_training, stock_rows, texts
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
        name="t", title="T", aim=2, size="nano",
        tokenizer=folder / "tokenizer", corpus=config.output,
        languages=("khk", "eng"), block_tokens=48, batch_size=4, warm_up=1, steps=2,
        repetitions=2, arms=(TrainingArm(loop="langmod"), TrainingArm(loop="padded", bf16=False)),
    )  # fmt: skip


def test_every_loop_reads_the_same_text(asked):
    tokenizer, sentences = texts(asked)
    groups, lines, padded = (stock_rows(asked, loop) for loop in ("groups", "lines", "padded"))
    assert {len(row["input_ids"]) for row in groups} == {48}
    assert {len(row["input_ids"]) for row in padded} == {48}
    assert len(lines) == len(padded) == len(sentences)
    assert all(sum(row["attention_mask"]) == len(row["input_ids"]) for row in lines)
    assert min(sum(row["attention_mask"]) for row in padded) < 48
    assert lines[0]["input_ids"][:47] == tokenizer(sentences[0])["input_ids"][:47]


def test_padding_is_no_text():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    counting = Counting(lambda rows: {"attention_mask": mask})
    assert counting([])["attention_mask"] is mask
    assert (counting.text, counting.positions) == ([3], [6])


def test_loops_are_measured_in_turns_and_compared(asked):
    result = measure_training(asked)
    ours, padded = result.points
    assert [len(point.runs) for point in result.points] == [2, 2]
    assert 0 < padded.runs[0].text != ours.runs[0].text <= 1
    for run in (*ours.runs, *padded.runs):
        read = run.text * 4 * 48
        assert run.tokens_per_second * run.seconds_per_step == pytest.approx(read, rel=0.02)
    assert TrainingResult.model_validate_json(result.model_dump_json()) == result
    assert "| `training base` | bf16 |" in table(result)
    assert "| run_mlm, a line a row, padded to full length | fp32 |" in table(result)


def test_repetitions_that_followed_one_another_are_compared(asked):
    def point(arm, *speeds):
        runs = [TrainingRun(tokens_per_second=s, seconds_per_step=1, text=1) for s in speeds]
        return {"arm": arm, "runs": runs}

    points = [point(asked.arms[0], 90, 20, 40), point(asked.arms[1], 30, 10, 10)]
    result = TrainingResult.model_construct(experiment=asked, points=None)
    from benchmarks.side_by_side import TrainingPoint

    made = tuple(TrainingPoint.model_validate(each) for each in points)
    result = result.model_copy(update={"points": made})
    assert result.ratio(made[1]) == pytest.approx(3.0)
