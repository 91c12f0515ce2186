"""The command line: the table on stdout, or one clear line on stderr and exit code 1."""

import json
import subprocess
import sys

from tests.training.corpora import sentences, source, write_lines


def run(*arguments: str, package: str = "langmod") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", package, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_corpus_from_a_yaml_with_overrides(tmp_path):
    path = write_lines(tmp_path / "a.txt", sentences("mn", 50))
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text(json.dumps({"output": "none", "sources": [source(path, ["khk"])]}))
    done = run("corpus", str(yaml), f"output={tmp_path / 'out'}", "splits.dev=0.2")
    assert done.returncode == 0, done.stderr
    assert "| a | mn | 50 |" in done.stdout
    assert (tmp_path / "out" / "text" / "mn" / "dev.txt").is_file()


def test_a_fault_is_one_line(tmp_path):
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text(json.dumps({"output": "o", "sources": [source(tmp_path / "b", ["khk"])]}))
    done = run("corpus", str(yaml), package="training")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path / 'b'}: no such file\n"
    assert done.stdout == ""


def test_a_wrong_field_is_named(tmp_path):
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text(json.dumps({"output": "o", "sources": []}))
    done = run("corpus", str(yaml), "speed=9")
    assert done.returncode == 1
    assert "sources: " in done.stderr
    assert "speed: Extra inputs are not permitted (got 9)" in done.stderr
    assert done.stderr.count("\n") == 1
