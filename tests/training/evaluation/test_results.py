"""Tables from score files: rows, columns, the best in bold, and where a module loses."""

import json

from training.evaluation.results import END, START, ResultsConfig, sections, write_results


def metrics(name, **values):
    return [
        {"name": name, "value": value, "language": language, "split": "test"}
        for language, value in values.items()
    ]


def rival(system, base, task, found):
    return {"system": system, "base": base, "task": task, "metrics": found}


BOARD = {
    "base": "nano",
    "split": "test",
    "rows": [
        {"method": "none", "task": None, "metrics": metrics("bits_per_byte", en=2.0, mn=3.0)},
        {"method": "lora", "task": None, "metrics": metrics("bits_per_byte", en=1.5)},
        {"method": "lora", "task": None, "metrics": metrics("bits_per_byte", mn=3.25)},
        {"method": "bottleneck", "task": "topic", "metrics": metrics("accuracy", en=0.7, mn=0.6)},
        {"method": "bottleneck", "task": "topic", "metrics": metrics("macro_f1", en=0.1)},
    ],
}
RIVALS = {
    "rows": [
        {
            "system": "tfidf-lr",
            "base": None,
            "task": "topic",
            "metrics": metrics("accuracy", mn=0.8),
        },
        {"system": "head", "base": "nano", "task": "topic", "metrics": metrics("accuracy", en=0.7)},
        {"system": "head", "base": "other", "task": "topic", "metrics": metrics("accuracy", en=1)},
        {"system": "base", "base": "nano", "task": None, "metrics": metrics("bits_per_byte", en=1)},
    ]
}
LANGUAGES = """\
### Language modules: bits per byte by pseudo-likelihood, lower is better (nano, test split)

| | en | mn |
|---|--:|--:|
| bare base | 2.000 | **3.000** |
| LoRA module | 1.500 | 3.250 |
| full fine-tuning | **1.000** | – |

LoRA module loses to bare base in mn."""
TOPIC = """\
### Task `topic`: accuracy × 100, higher is better (nano, test split)

| | en | mn |
|---|--:|--:|
| TF-IDF n-grams + LR | – | **80.0** |
| bare base + head | **70.0** | – |
| bottleneck module | **70.0** | 60.0 |

bottleneck module loses to TF-IDF n-grams + LR in mn."""


def test_tables_of_a_base_and_its_rivals():
    assert sections([RIVALS, BOARD]) == [LANGUAGES, TOPIC]


def test_directions_have_a_table_for_each_origin():
    rows = [
        {"method": "none", "task": None, "metrics": metrics(f"chrf++ {origin}", **{"mn-en": 20.04})}
        for origin in ("flores", "ui")
    ]
    found = sections([{"base": "nano", "split": "dev", "rows": rows}])
    assert [text.splitlines()[0].split(" translations of ")[1] for text in found] == [
        "`flores` sentences, higher is better (nano, dev split)",
        "`ui` sentences, higher is better (nano, dev split)",
    ]
    assert "| bare base | **20.0** |" in found[0]


def test_only_the_marked_part_of_the_readme_changes(tmp_path):
    readme, page = tmp_path / "README.md", tmp_path / "results.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    (tmp_path / "scores").mkdir()
    for name, board in (("nano", BOARD), ("rivals", RIVALS)):
        (tmp_path / "scores" / f"{name}.json").write_text(json.dumps(board))
    config = ResultsConfig(scores=tmp_path / "scores", page=page, readme=readme)
    tables = write_results(config)
    assert tables == f"{LANGUAGES}\n\n{TOPIC}"
    assert readme.read_text() == f"before\n{START}\n\n{tables}\n\n{END}\nafter\n"
    assert page.read_text().endswith(tables + "\n")
    again = readme.read_text()
    write_results(config)
    assert readme.read_text() == again


def test_a_readme_without_the_marks_stays_as_it_is(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing marked\n")
    config = ResultsConfig(scores=tmp_path, page=tmp_path / "page.md", readme=readme)
    write_results(config)
    assert readme.read_text() == "nothing marked\n"
