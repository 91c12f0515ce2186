"""The map of the code names files and folders that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("adaptation", "benchmarks", "export", "langmod", "service", "tests", "training")
FILES = sorted(set(re.findall(r"[\w/]+\.py\b", TEXT)))
FOLDERS = sorted(set(re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:/[\w-]+)*)/?`", TEXT)))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_there(name):
    found = (path for package in PACKAGES for path in (ROOT / package).rglob(Path(name).name))
    assert any(path.as_posix().endswith(f"/{name}") for path in found)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_there(name):
    assert (ROOT / name).is_dir()


def test_names_were_found():
    assert "service/scheduler.py" in FILES
    assert {"training/data", "adaptation/methods"} <= set(FOLDERS)
