"""Every method against its library, in every role and on every base; docs/methods.md says so."""

import pytest

from tests import methods_table
from tests.adaptation.heads import TASKS, our_answers
from tests.adaptation.models import BASES
from tests.adaptation.references import as_mbart
from tests.methods_table import (
    MOST,
    PAGE,
    SEEN,
    cells,
    measured,
    numbers,
    outlines,
    page,
    without_numbers,
)


def test_every_method_has_a_library_to_be_compared_with():
    assert methods_table.without_reference() == []


@pytest.mark.parametrize(
    "cell", [each for each in cells() if each.unfit is None], ids=lambda cell: "-".join(
        (cell.method, cell.role, cell.base))
)  # fmt: skip
def test_mixed_rows_equal_the_library_one_row_at_a_time(cell):
    found = measured(cell)
    assert found.keys() == {task for task, kind in TASKS.items() if kind == cell.kind}
    assert max(found.values()) <= MOST


def test_the_page_lists_every_method_as_it_is_measured():
    text = PAGE.read_text(encoding="utf-8")
    said = page(outlines())
    assert without_numbers(text) == without_numbers(said), "run `make methods`"
    assert len(numbers(text)) == len(numbers(said))
    assert max(numbers(text)) <= MOST


def test_heads_tell_rows_apart():
    base = BASES["xlmr"]()
    answers = our_answers(base, methods_table.one_by_one(base.model, methods_table.inputs_of(base)))
    assert all((each[0] - each[1]).abs().max() > SEEN for each in answers.values())


def test_the_translators_stand_in_is_the_translator():
    base = BASES["m2m100"]()
    inputs = methods_table.inputs_of(base)
    ours, theirs = (
        methods_table.one_by_one(model, inputs)[2] for model in (base.model, as_mbart(base.model))
    )
    assert (ours - theirs).abs().max() <= MOST
