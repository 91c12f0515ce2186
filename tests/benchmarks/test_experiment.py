"""The one measuring loop, ratios and aims, and results as files, tables and plots."""

from typing import ClassVar

import pytest
from matplotlib.figure import Figure

from benchmarks.experiment import KINDS, Aim, Column, Experiment, Ratio, Result, constant
from benchmarks.tables import END, START, aims_table, table, write_tables
from langmod.errors import ConfigError


class Sums(Experiment):
    """Adds numbers."""

    heads = ("numbers", "way")
    columns = (Column("sum"), Column("speed"))
    ratio = Ratio("ours ÷ it", "speed")
    plotted = ("sum",)
    caption = "Sums of {note}."
    speeds: ClassVar = {"ours": (9, 90, 20, 40), "theirs": (9, 30, 10, 10)}

    def opened(self, stack):
        def way(arm):
            return lambda numbers: {"sum": sum(numbers), "speed": next(left[arm])}

        left = {arm: iter(speeds * 2) for arm, speeds in self.speeds.items()}
        return {arm: {"": way(arm)} for arm in self.speeds}

    def settings(self):
        yield "2", constant([1, 1])
        yield "3", constant([1, 1, 1])


@pytest.fixture
def result(monkeypatch):
    monkeypatch.setattr("benchmarks.turns.TURN", 0)
    monkeypatch.setattr(Sums, "kind", "sums", raising=False)
    monkeypatch.setitem(KINDS, "sums", Sums)
    aims = [
        Aim(what="speed", arm="theirs", least=3, settings=("2",)),
        Aim(what="sum", arm="ours", against="many", figure="sum", most=2.5),
    ]
    return Result.of(Sums(name="s", title="Sums", note="ones", aims=aims, repetitions=3))


def test_arms_are_compared_repetition_by_repetition(result):
    assert [(each.arm, each.setting) for each in result.points] == [
        ("ours", "2"), ("theirs", "2"), ("ours", "3"), ("theirs", "3"),
    ]  # fmt: skip
    theirs = result.points[1]
    assert theirs.figures["speed"] == (30, 10, 10)
    assert theirs.figures["ours ÷ it"] == (3, 2, 4)
    assert theirs.median("ours ÷ it") == 3


def test_a_result_is_read_as_it_was_saved(result, tmp_path):
    result.save(tmp_path / "sums" / "s.json")
    assert Result.load(tmp_path / "sums" / "s.json") == result
    (tmp_path / "other.json").write_text('{"kind": "none", "experiment": {}}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'none' is none of churn.*remove it to measure again"):
        Result.load(tmp_path / "other.json")


def test_a_table_has_a_row_for_each_point(result):
    caption, _, *rows = table(result).splitlines()
    assert caption.startswith("**Sums** — Sums of ones. Median (lowest–highest) of 3 repetitions")
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        ["numbers", "way", "sum", "speed", "ours ÷ it", "aim"],
        [":--", "--:", "--:", "--:", "--:", "--:"],
        ["2", "ours", "2", "40 (20–90)", "1.00", "≤ 2.5"],
        ["2", "theirs", "2", "10 (10–30)", "3.00 (2.00–4.00)", "≥ 3"],
        ["3", "ours", "3", "40 (20–90)", "1.00", "≤ 2.5"],
        ["3", "theirs", "3", "10 (10–30)", "3.00 (2.00–4.00)", ""],
    ]


def test_an_aim_is_met_where_every_setting_meets_it(result):
    caption, _, _, _, *rows = aims_table([result]).splitlines()
    assert "1 of 2 are met" in caption
    assert rows == [
        "| speed | theirs | ≥ 3 | 3.00 | yes |",
        "| sum | many | ≤ 2.5 | 2.00 / 3.00 | no |",
    ]


@pytest.mark.parametrize(
    ("limit", "enough", "wrong"),
    [({"least": 2}, 2.0, 1.9), ({"most": 2}, 2.0, 2.1), ({"most": 10}, -3.0, 11.0)],
)
def test_an_aim_is_the_least_or_the_most_that_will_do(limit, enough, wrong):
    aim = Aim(what="", arm="", **limit)
    assert aim.is_met(enough)
    assert not aim.is_met(wrong)


def test_tables_and_plots_go_between_the_markers(result, tmp_path, monkeypatch):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda *a, **k: [figures.append(a[0]), save(*a, **k)])
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="run `make bench`"):
        write_tables(readme)
    result.save(tmp_path / "sums" / "s.json")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "other.json").write_text("{}", encoding="utf-8")
    assert write_tables(readme) == 1
    aims, shown = aims_table([result]), table(result)
    assert readme.read_text(encoding="utf-8") == (
        f"before\n{START}\n\n{aims}\n\n{shown}\n\n![Sums](plots/s.png)\n\n{END}\nafter\n"
    )
    assert [line.get_ydata().tolist() for line in figures[0].axes[0].lines] == [[2, 2, 3, 3]]
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(ConfigError, match="to put the tables between"):
        write_tables(readme)
