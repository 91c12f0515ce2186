"""From a study's result to tests, tables and plots."""

import json

import pytest

from langmod.errors import ConfigError
from langmod.machine import Machine
from langmod.specs import Metric
from training.evaluation.translations import Translations, save_translations
from training.studies.compare import CompareConfig, averaged, compare
from training.studies.definition import Compared
from training.studies.differences import family, verdict
from training.studies.result import Failure, RunResult, StudyResult
from training.studies.significance import Permutation
from training.studies.tables import Table, escaped

SEEDS = (1, 2, 3, 4, 5)
SCORES = {
    "base": {None: 10.0},
    "good_one": dict(zip(SEEDS, (5.0, 6.0, 7.0, 6.5, 5.5), strict=True)),
    "so & so": dict(zip(SEEDS, (9.0, 10.5, 11.0, 10.0, 9.5), strict=True)),
}


def metric(value, name="pppl", language="mn"):
    return Metric(
        name=name,
        value=value,
        split="test",
        language=language,
        signature=f"{name}|v1",
        data="d" * 64,
    )


def study_result(tmp_path, scores=None, language="mn", **changes):
    runs = [
        RunResult(
            arm=arm,
            seed=seed,
            seconds=1,
            steps=2,
            examples=8,
            metrics=(metric(value, language=language),),
        )
        for arm, each in (scores or SCORES).items()
        for seed, value in each.items()
    ]
    values = {
        "name": "tiny",
        "question": "Which?",
        "source": "",
        "size": "nano",
        "yaml_digest": "y",
        "split": "test",
        "metrics": [{"name": "pppl", "better": "lower"}],
        "comparisons": [("good_one", "base"), ("so & so", "base")],
        "arms": tuple(scores or SCORES),
        "seeds": SEEDS,
        "paired": True,
        "alpha": 0.05,
        "unequal": {"so & so": "it learns slowly"},
        "folder": tmp_path / "runs",
        "machine": Machine.here(),
        "accelerator": None,
        "versions": {},
        "commit": "c",
        "data": {},
        "runs": runs,
        "failed": [Failure(run="so & so-6", problem="no disk")],
    }
    return StudyResult.model_validate(values | changes)


def compared(tmp_path, **changes):
    result = study_result(tmp_path, **changes)
    result.save(tmp_path / "tiny.json")
    config = CompareConfig.load(tmp_path / "tiny.json").model_copy(update={"trials": 50})
    return compare(config), tmp_path / "tiny"


def test_five_seeds_against_the_base(tmp_path):
    found, folder = compared(tmp_path)
    good, other = found.differences
    assert (good.arm, good.mean, good.median, good.difference) == ("good_one", 6, 6, -4)
    assert good.deviation == pytest.approx(0.790569)
    # All five lower: 2 of 32 signs; times two for the family. Of the other -1 .5 1 0 -.5 sum to 0.
    assert (good.p, good.p_holm, good.smallest_p) == (2 / 32, 4 / 32, 2 / 32)
    assert (other.p, other.p_holm, other.delta) == (1.0, 1.0, 0.0)
    assert (good.delta, good.aso, good.aso_reverse) == (-1.0, 0.0, 1.0)
    assert good.verdict == "better always; too few runs for p ≤ 0.05"
    assert json.loads((folder / "compare.json").read_text())["differences"][0]["arm"] == "good_one"


def test_a_score_of_no_language_is_compared_too(tmp_path):
    found, _ = compared(tmp_path, language=None)
    assert [(each.arm, each.language) for each in found.differences] == [
        ("good_one", ""),
        ("so & so", ""),
    ]
    assert "| good_one | 5 | 6.0000 |" in (found.out / "tables.md").read_text()


def test_the_table_says_what_its_numbers_are(tmp_path):
    _, folder = compared(tmp_path)
    text = (folder / "tables.md").read_text()
    assert "### pppl, lower is better: tiny, test split" in text
    assert "| base (mn) | 1 | 10.000 | – | 10.000 | – | – | – | – | – | – | – | reference |" in text
    assert (
        "| good_one (mn) | 5 | 6.0000 | 0.7906 | 6.0000 | −4 | 0.0625 | 0.125 | 0 | 1 | −1 |"
        in text
    )
    for note in (
        "- Signature: `pppl|v1`",
        "- Scored texts: dddddddddddd",
        "- Seeds: 1, 2, 3, 4, 5; size: nano",
        "- so & so-6 failed: no disk",
        "- so & so took other steps: it learns slowly",
        "- Differences are from base",
        "- p: two-sided permutation of signs of paired differences, every rearrangement; with 5 "
        "runs the smallest p that can be reached is 0.0625",
        "- Holm's family: 2 comparisons; ε_min: confidence 1 − 0.05 / 2, below 0.5",
    ):
        assert note in text


def test_latex_and_plot_hold_the_same(tmp_path):
    _, folder = compared(tmp_path)
    text = (folder / "tables.tex").read_text()
    assert (
        r"good\_one (mn) & 5 & 6.0000 & 0.7906 & 6.0000 & $-$4 & 0.0625 & 0.125 & 0 & 1 & $-$1"
        in text
    )
    assert r"so \& so (mn)" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"Signature: pppl\textbar{}v1." in text
    assert (folder / "pppl.png").read_bytes().startswith(b"\x89PNG")


def test_latex_needs_no_symbols_of_unicode():
    assert escaped("ε_min ≻ 5 % ≤ –") == r"$\varepsilon$\_min $\succ$ 5 \% $\leq$ --"
    table = Table("t", ("a", "b"), (("x", "y"),), ("n `s`",))
    assert r"\caption{t. n s.}" in table.latex()


def test_ten_seeds_can_show_a_difference(tmp_path):
    seeds = tuple(range(10))
    scores = {
        "base": {None: 10.0},
        "good_one": {seed: 5.0 + seed / 10 for seed in seeds},
        "so & so": {seed: 10.0 + (-1) ** seed for seed in seeds},
    }
    found, _ = compared(tmp_path, scores=scores, seeds=seeds)
    assert [each.verdict for each in found.differences] == ["better", "no difference shown"]
    swapped = study_result(
        tmp_path, scores=scores, seeds=seeds, metrics=[{"name": "pppl", "better": "higher"}]
    )
    (worse, _) = family(swapped, swapped.metrics[0])
    assert (worse.verdict, worse.aso, worse.aso_reverse) == ("worse", 1.0, 0.0)


def test_runs_without_common_seeds_are_not_paired(tmp_path):
    scores = {"base": {1: 3.0, 2: 4.0}, "other": {3: 1.0, 4: 2.0}}
    changes = {"comparisons": [("other", "base")], "seeds": (1, 2, 3, 4), "unequal": {}}
    result = study_result(tmp_path, scores=scores, **changes)
    (found,) = family(result, result.metrics[0])
    assert not found.paired
    assert found.p == pytest.approx(2 / 6)
    both = {"base": {1: 3.0, 2: 4.0}, "other": {1: 1.0, 2: 2.0}}
    for paired, p in ((True, 2 / 4), (False, 2 / 6)):
        result = study_result(tmp_path, scores=both, paired=paired, **changes)
        assert family(result, result.metrics[0])[0].p == pytest.approx(p)


def test_an_arm_without_chance_is_no_sample(tmp_path):
    changes = {"comparisons": [("good_one", "base"), ("good_one", "so & so")], "unequal": {}}
    result = study_result(tmp_path, paired=False, **changes)
    fixed, runs = family(result, result.metrics[0])
    assert (fixed.paired, fixed.smallest_p, fixed.p) == (True, 2 / 2**5, 2 / 2**5)
    assert (runs.paired, runs.smallest_p) == (False, pytest.approx(2 / 252))


def test_two_arms_without_chance_are_not_tested(tmp_path):
    scores = SCORES | {"counted": {None: 5.0}}
    comparisons = [("counted", "base"), ("good_one", "base"), ("good_one", "counted")]
    found, folder = compared(tmp_path, scores=scores, comparisons=comparisons)
    cases = [(each.arm, each.reference) for each in found.differences]
    assert cases == [("good_one", "base"), ("good_one", "counted")]
    assert "| counted (mn) | 1 | 5.0000 | – | 5.0000 | – |" in (folder / "tables.md").read_text()


def test_what_the_arms_took_is_in_the_last_table(tmp_path):
    _, folder = compared(tmp_path)
    text = (folder / "tables.md").read_text()
    assert "### Cost: tiny" in text
    assert "| good_one | 5 | 2 | 8 | – | 1 |  |" in text
    assert "| so & so | 5 | 2 | 8 | – | 1 | it learns slowly |" in text


@pytest.mark.parametrize(
    ("gain", "p", "p_holm", "count", "words"),
    [
        (1.0, 0.002, 0.01, 5, "better"),
        (-1.0, 0.002, 0.01, 5, "worse"),
        (1.0, 0.5, 1.0, 5, "no difference shown"),
        (-1.0, 0.002, 0.06, 30, "worse always; too few runs for p ≤ 0.05"),
        (1.0, 0.5, 1.0, 30, "better on average; too few runs for p ≤ 0.05"),
        (0.0, 1.0, 1.0, 30, "equal; too few runs for p ≤ 0.05"),
    ],
)
def test_verdicts(gain, p, p_holm, count, words):
    assert verdict(gain, (Permutation(p, 0.002, True), p_holm), 0.05, count) == words


def test_one_mean_over_all_languages_can_stand_for_them(tmp_path):
    scores = {"base": {1: (1.0, 5.0), 2: (2.0, 6.0)}, "other": {1: (3.0, 9.0), 2: (4.0, None)}}
    runs = [
        RunResult(
            arm=arm,
            seed=seed,
            seconds=1,
            steps=2,
            examples=8,
            metrics=tuple(
                metric(value, language=language)
                for language, value in zip(("ko", "mn"), both, strict=True)
                if value is not None
            ),
        )
        for arm, each in scores.items()
        for seed, both in each.items()
    ]
    changes = {"arms": ("base", "other"), "seeds": (1, 2), "unequal": {}, "runs": runs}
    result = study_result(
        tmp_path,
        scores={"base": {}},
        comparisons=[("other", "base")],
        metrics=[{"name": "pppl", "better": "lower", "averaged": True}],
        **changes,
    )
    found = averaged(result)
    assert found.values("base", "pppl", "mean") == {1: 3.0, 2: 4.0}
    assert found.values("other", "pppl", "mean") == {1: 6.0}, "a run without a language has none"
    assert found.languages("pppl") == ["mean"]
    assert found.signatures("pppl") == ["mean of ko, mn: pppl|v1"]
    plain = result.model_copy(update={"metrics": (Compared(name="pppl", better="lower"),)})
    assert averaged(plain) == plain


def test_translations_are_compared_sentence_by_sentence(tmp_path):
    references = [f"the {n} horses drink from river number {n * 7} today" for n in range(40)]
    scores = {"base": {1: 10.0, 2: 11.0}, "other": {1: 50.0, 2: 51.0}}
    for seed in (1, 2):
        for arm, spoilt in (("base", 2), ("other", 10)):
            found = Translations(
                direction="mn-en",
                origin="book",
                data="d",
                references=references,
                hypotheses=["no" if n % spoilt == 0 else t for n, t in enumerate(references)],
            )
            (tmp_path / "runs" / f"{arm}-{seed}" / "measured").mkdir(parents=True)
            save_translations(tmp_path / "runs" / f"{arm}-{seed}" / "measured", [found])
    changes = {"comparisons": [("other", "base")], "seeds": (1, 2), "unequal": {}, "failed": []}
    comparison, folder = compared(tmp_path, scores=scores, **changes)
    rows = comparison.sentences
    assert {(row.seed, row.metric) for row in rows} == {
        (seed, name) for seed in (1, 2) for name in ("chrf++ book", "bleu book")
    }
    assert all(row.score > row.reference_score for row in rows)
    assert {row.randomisation for row in rows} == {1 / 51}
    assert {row.randomisation_holm for row in rows} == {2 / 51}, "two seeds, a family a metric"
    text = (folder / "tables.md").read_text()
    assert "### Sentence by sentence: tiny" in text
    (row,) = [line for line in text.splitlines() if "other against base | mn-en | bleu" in line]
    assert row.split(" | ")[3] == "2", "runs"
    assert row.endswith("| 2 | 0 |"), "both are shown to be better"


def test_metrics_that_no_run_has_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"tiny: no run has bleu; the runs have pppl"):
        compared(tmp_path, metrics=[{"name": "bleu", "better": "higher"}])
    with pytest.raises(ConfigError, match=r"no result .*: run `langmod study` first"):
        compare(CompareConfig(results=tmp_path / "none.json", out=tmp_path))
