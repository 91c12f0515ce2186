"""The README's quick start: every `curl` is sent to the real service and answers as it shows.

A `bash` block with a `curl`, then a `json` block with its answer. In an answer `…` stands for what
is left out: the rest of a list, or further fields as `"…": "…"`. Numbers may differ a little.
"""

import json
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.running_service import running_service

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLE = re.compile(r"```bash\n(curl [^`]+)```\n+```json\n([^`]+)```")
TOLERANCE = 2e-3
REST = "…"
ENDPOINTS = {
    "fill_mask", "classify", "tag", "embed", "translate", "back_translate",
    "languages", "tasks", "modules",
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A request the README shows, and its answer."""

    endpoint: str
    body: str | None
    answer: object


def parse(command, answer):
    words = shlex.split(command.replace("\\\n", " "))
    (address,) = (word for word in words if word.startswith("http://"))
    body = words[words.index("-d") + 1] if "-d" in words else None
    return Example(httpx.URL(address).path.strip("/"), body, json.loads(answer))


def examples(text):
    return [parse(*found) for found in EXAMPLE.findall(text)]


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
    with running_service({"LANGMOD_MODELS": str(ROOT / "models")}) as address:
        yield address


SHOWN = examples(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("example", SHOWN, ids=[each.endpoint for each in SHOWN])
def test_the_service_answers_as_the_readme_shows(address, example):
    if example.body is None:
        response = httpx.get(f"{address}/{example.endpoint}", timeout=60)
    else:
        response = httpx.post(f"{address}/{example.endpoint}", content=example.body, timeout=60)
    assert not (wrong := differences(example.answer, response.json())), "\n".join(wrong)


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
        ({"a": 1.0, "b": [1, "x"]}, {"a": 1.001, "b": [1, "x"]}),
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
