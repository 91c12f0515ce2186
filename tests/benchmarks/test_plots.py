"""Plots beside the tables: which there are, where they lie, and what is drawn."""

import pytest
from matplotlib.figure import Figure

from benchmarks.goals import Goal
from benchmarks.plots import plot_churn, plot_goals
from benchmarks.result import ChurnPoint, ChurnResult, Run

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def note(figure, *arguments, **settings):
        figures.append(figure)
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


def test_a_row_an_aim_and_a_dot_a_batch(drawn, tmp_path):
    goals = [
        Goal("`speed`", "x", 2.0, (1.0, 3.0)),
        Goal("seconds", "", 4.0, (2.0,), least=False),
        Goal("more", "x", 2.0, (100.0,)),
    ]
    path = plot_goals(goals, tmp_path / "plots" / "aims.png")
    assert path.read_bytes().startswith(PNG)
    panel = drawn[0].axes[0]
    assert [each.get_text() for each in panel.get_yticklabels()] == [
        "speed — x",
        "seconds",
        "more — x",
    ]
    dots = [[tuple(place) for place in each.get_offsets().tolist()] for each in panel.collections]
    assert dots == [[(0.5, 0), (1.5, 0)], [(2.0, 1)], [(10.0, 2)]]
    red, green = (tuple(each) for each in panel.collections[0].get_facecolors())
    assert red != green == tuple(panel.collections[1].get_facecolors()[0])


def test_memory_is_drawn_over_cycles(drawn, tmp_path):
    points = tuple(
        ChurnPoint(
            cycles=cycles, resident_mib=resident, banks_mib=4, evictions=cycles,
            run=Run(texts_per_second=1, p50=1, p95=1, p99=1),
        )
        for cycles, resident in ((1000, 380), (2000, 382))
    )  # fmt: skip
    result = ChurnResult.model_construct(points=points)
    assert plot_churn(result, tmp_path / "churn.png").read_bytes().startswith(PNG)
    lines = [line.get_ydata().tolist() for line in drawn[0].axes[0].lines]
    assert lines == [[380, 382], [4, 4]]
