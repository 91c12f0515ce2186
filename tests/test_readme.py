"""The README's quick start: every `curl` is sent to the real service and answers as it shows."""

import math

import pytest

from tests.readme_examples import README, REST, Example, ask, examples, refreshed, service

TOLERANCE = 2e-2
"""Between processors a last bit of fp32 can move an 8-bit activation by a step (decision 0006)."""
ENDPOINTS = {
    "fill_mask", "classify", "tag", "embed", "translate", "back_translate",
    "languages", "tasks", "modules",
}  # fmt: skip


def differences(shown, got, place="answer"):
    """Where an answer is other than shown."""
    if isinstance(shown, dict) and isinstance(got, dict):
        wanted = {key: value for key, value in shown.items() if key != REST}
        if wanted.keys() - got.keys() or (REST not in shown and got.keys() - wanted.keys()):
            return [f"{place} has {sorted(got)}, shown {sorted(shown)}"]
        return [d for key in wanted for d in differences(wanted[key], got[key], f"{place}.{key}")]
    if isinstance(shown, list) and isinstance(got, list):
        rest = shown[-1:] == [REST]
        wanted = shown[:-1] if rest else shown
        if len(got) < len(wanted) or (not rest and len(got) > len(wanted)):
            return [f"{place} has {len(got)} entries, shown {len(wanted)}"]
        pairs = enumerate(zip(wanted, got, strict=False))
        return [d for at, (one, other) in pairs for d in differences(one, other, f"{place}[{at}]")]
    if isinstance(shown, float) and isinstance(got, int | float):
        same = math.isclose(shown, got, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    else:
        same = shown == got and type(shown) is type(got)
    return [] if same else [f"{place} is {got!r}, shown {shown!r}"]


@pytest.fixture(scope="module")
def address():
    with service() as started:
        yield started.address


SHOWN = examples(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("example", SHOWN, ids=[each.endpoint for each in SHOWN])
def test_the_service_answers_as_the_readme_shows(address, example):
    wrong = differences(example.answer, ask(address, example))
    assert not wrong, "\n".join(wrong)


def test_every_endpoint_is_shown():
    assert {each.endpoint for each in SHOWN} >= ENDPOINTS


def test_an_example_is_read_with_its_body_and_answer():
    text = (
        "```bash\ncurl -s http://localhost:3000/tag \\\n  -d '{\"texts\": [\"it'\\''s\"]}'\n```\n\n"
        '```json\n{"results": []}\n```\n```bash\nmake serve\n```\n'
        '```bash\ncurl -s http://localhost:3000/tasks\n```\n```json\n{"…": "…"}\n```\n'
    )
    assert examples(text) == [
        Example("tag", '{"texts": ["it\'s"]}', {"results": []}),
        Example("tasks", None, {"…": "…"}),
    ]


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ({"a": 1.0, "b": [1, "x"]}, {"a": 1.005, "b": [1, "x"]}),
        ({"a": 1, "…": "…"}, {"a": 1, "b": 2}),
        ([0.5, "…"], [0.5, 0.1, 0.2]),
        ([], []),
    ],
)
def test_equal_answers(shown, got):
    assert differences(shown, got) == []


@pytest.mark.parametrize(
    ("shown", "got", "where"),
    [
        ({"a": 1.0}, {"a": 1.1}, "answer.a is 1.1, shown 1.0"),
        ({"a": "x@1"}, {"a": "x@2"}, "answer.a is 'x@2', shown 'x@1'"),
        ({"a": 1}, {"a": 1, "b": 2}, "answer has ['a', 'b'], shown ['a']"),
        ({"a": 1, "…": "…"}, {"b": 2}, "answer has ['b'], shown ['a', '…']"),
        ([1, 2], [1], "answer has 1 entries, shown 2"),
        ([1], [1, 2], "answer has 2 entries, shown 1"),
        ({"a": None}, {"a": False}, "answer.a is False, shown None"),
    ],
)
def test_other_answers_are_told_apart(shown, got, where):
    assert differences(shown, got) == [where]


def test_refreshing_keeps_what_is_left_out(monkeypatch):
    shown = '{"results": [{"a": 1, "…": "…"}, "…"], "more": []}'
    text = f"before\n```bash\ncurl -s http://x/tasks\n```\n\n```json\n{shown}\n```\nafter\n"
    got = {"results": [{"a": 2, "b": 3}, {"a": 4, "b": 5}], "more": [{"c": "d" * 90}]}
    monkeypatch.setattr("tests.readme_examples.ask", lambda address, example: got)
    (example,) = examples(refreshed(text, "http://x"))
    assert example.answer == {"results": [{"a": 2, "…": "…"}, "…"], "more": [{"c": "d" * 90}]}
