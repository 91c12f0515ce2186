"""Who may import whom, proved from the source; the service lives without model libraries."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SHARED = ("langmod", "adaptation")
ALLOWED = {
    "langmod": set(),
    "adaptation": {"langmod"},
    "training": set(SHARED),
    "export": set(SHARED),
    "service": {"langmod"},
    "benchmarks": {*SHARED, "training", "export", "service"},
}
"""Package → those that it may import."""
LONGEST_ENTRY = 60
"""Lines of a ``__main__.py``."""
PACKAGES = tuple(ALLOWED)
HEAVY = {"torch", "transformers", "peft", "adapters", "optimum", "onnx", "accelerate", "datasets"}


@dataclass(frozen=True)
class Import:
    """One imported module at one place."""

    file: Path
    line: int
    module: str
    at_import: bool
    """Whether it runs when the file is imported, and not only inside a function."""

    def __str__(self):
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"

    def reaches(self, package):
        return self.module == package or self.module.startswith(f"{package}.")


def imports_of(file, typing=False):
    """Every import of a file; those for type checkers alone only where ``typing`` is set."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []

    def walk(node, at_import):
        checked = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if checked and not typing:
            children = node.orelse
        else:
            children = ast.iter_child_nodes(node)
            found.extend(
                Import(file, node.lineno, name, at_import) for name in imported(node, package)
            )
        inner = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in children:
            walk(child, inner)

    walk(ast.parse(file.read_text(encoding="utf-8")), at_import=True)
    return found


def imported(node, package):
    """Full names of what a statement imports; ``from a import b`` may mean a module ``a.b``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        origin = ".".join([*above, *([node.module] if node.module else [])])
        named = [f"{origin}.{alias.name}" for alias in node.names]
        files = all(file_of(name) for name in named)
        return named if files else [origin, *named]
    return []


def files_of(package):
    return sorted((ROOT / package).rglob("*.py"))


def file_of(module):
    path = ROOT.joinpath(*module.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


def loaded_with(file):
    """The files of langmod that a file loads, at once or later; a registry loads its folder."""
    found = [
        each
        for imported in imports_of(file)
        if imported.reaches("langmod") and (each := file_of(imported.module)) is not None
    ]
    if file.name == "__init__.py" and "iter_modules" in file.read_text(encoding="utf-8"):
        found.extend(file.parent.glob("*.py"))
    return found


def reached(files):
    todo, seen = list(files), set()
    while todo:
        if (file := todo.pop()) not in seen:
            seen.add(file)
            todo.extend(loaded_with(file))
    return sorted(seen)


def listed(imports):
    return "\n".join(map(str, imports))


def test_the_walk_finds_what_it_must():
    found = {each.module: each for each in imports_of(ROOT / "adaptation" / "bases.py")}
    assert found["adaptation.architectures"].at_import
    assert not found["huggingface_hub"].at_import
    names = {file.relative_to(ROOT).as_posix() for file in reached(files_of("service"))}
    assert {"langmod/tasks/classify.py", "langmod/specs/module.py", "langmod/config.py"} <= names


def steps(package):
    """Folder → its part → the parts of the same folder that it imports, at once or later."""
    found = defaultdict(lambda: defaultdict(set))
    for file in files_of(package):
        for each in imports_of(file, typing=True):
            # ``from folder import file`` asks for the file alone.
            other = file_of(each.module) if each.reaches(package) else None
            if other is None or other == file:
                continue
            folder = Path(os.path.commonpath([file.parent, other.parent]))
            start, end = (path.relative_to(folder).parts[0] for path in (file, other))
            found[folder][start].add(end)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_parts_of_a_folder_import_one_another_in_one_direction(package):
    for parts in steps(package).values():
        TopologicalSorter(parts).prepare()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package):
    forbidden = {*PACKAGES, "tests"} - {package} - ALLOWED[package]
    wrong = [
        each
        for file in files_of(package)
        for each in imports_of(file)
        if any(each.reaches(other) for other in forbidden)
    ]
    assert not wrong, listed(wrong)


def test_the_service_never_imports_a_model_library():
    wrong = [
        each
        for file in files_of("service")
        for each in imports_of(file)
        if each.module.partition(".")[0] in HEAVY
    ]
    assert not wrong, listed(wrong)


def test_langmod_loads_without_a_model_library():
    wrong = [
        each
        for file in files_of("langmod")
        for each in imports_of(file)
        if each.at_import and each.module.partition(".")[0] in HEAVY
    ]
    assert not wrong, listed(wrong)


def test_a_bento_holds_the_code_that_serves_and_lists_modules_and_no_other():
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))
    included, excluded = (
        {path for pattern in bento[key] for path in ROOT.glob(pattern) if path.suffix == ".py"}
        for key in ("include", "exclude")
    )
    commands = (ROOT / "langmod" / name for name in ("__main__.py", "store_commands.py"))
    packages = {ROOT / name / "__init__.py" for name in ("langmod", "service")}
    assert included - excluded == {*reached([*files_of("service"), *commands]), *packages}


def test_importing_the_service_loads_no_model_library():
    program = (
        "import sys, service.service\n"
        f"loaded = sorted({HEAVY!r} & set(sys.modules))\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("*/__main__.py")), ids=lambda each: each.parent.name
)
def test_an_entry_holds_no_more_than_its_commands(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_ENTRY


def test_one_onnxruntime_is_installed():
    names = {each.metadata["Name"].lower() for each in distributions()}
    assert {"onnxruntime", "onnxruntime-gpu"} & names == {"onnxruntime-gpu"}
