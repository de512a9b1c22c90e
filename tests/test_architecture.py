"""The folder list is the architecture: layers, light modules, exported names, size."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "fromscratch"
LAYERS = (
    {"core"},
    {"corpus", "tokenizer", "model", "optim", "checkpoint"},
    {"tokens", "parallel", "anatomy"},
    {"train", "health", "evaluate", "plan"},
    {"study", "chat"},
    {"release", "dashboard"},
    {"recipe", "pipeline", "doctor", "inspect_model"},
    {"cli", "__main__"},
)
# Where imports inside functions keep start-up light: the verbs, the stages that are done already, and the filters,
# whose settings are read with every recipe.
LAZY = {"cli.py", "pipeline.py", "filters", "engine", "remote.py"}
LINES_AT_MOST = 42_000
EXTRAS = {"ray", "trafilatura"}  # what the tests do without
HEAVY = ("torch", "pyarrow", "numba", "transformers", "tokenizers", "resiliparse", "ray", "numpy")

MODULES = sorted(SOURCE.rglob("*.py"))


def layer_of(room: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> set[str]:
    names = [each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and each.module]
    names += [name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names]
    return {name.split(".")[1] for name in names if name.startswith("fromscratch.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_down_and_stand_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    room = room_of(path)
    if room != "__init__":
        for other in imported_rooms(tree) - {room}:
            assert layer_of(other) < layer_of(room) or layer_of(room) >= 6, f"{room} may not import {other}"
    if not {path.name, path.parent.name} & LAZY:
        inner = [
            each.lineno
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for each in ast.walk(function)
            if isinstance(each, ast.Import | ast.ImportFrom)
        ]
        assert not inner, f"imports inside functions at lines {inner}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_each_file_opens_with_one_sentence_and_exports_what_exists(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    first_line = (ast.get_docstring(tree) or "").split("\n")[0]
    assert first_line.endswith(".") and first_line[0] != " ", "the first line is one plain sentence"
    if path.name in ("__init__.py", "__main__.py") and path.parent != SOURCE:
        assert len(tree.body) == 1, "a package's __init__ says what the package is, and imports nothing"
    elif path.name != "__main__.py":
        name = ".".join(("fromscratch", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            pytest.skip(f"{error.name} is not installed, which an extra brings")
        assert all(hasattr(module, name) for name in module.__all__)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_and_kept_stages_load_neither_torch_nor_the_data_engine() -> None:
    helped = loaded_by("from fromscratch.cli import parse_arguments; parse_arguments(['doctor'])")
    assert not helped & {*HEAVY, "pydantic", "rich"}
    assert not loaded_by("import fromscratch.pipeline") & {*HEAVY} - {"numpy"}


def test_the_source_stays_small(capsys: pytest.CaptureFixture[str]) -> None:
    lines: dict[str, int] = {}
    for path in MODULES:
        lines[room_of(path)] = lines.get(room_of(path), 0) + len(path.read_text(encoding="utf-8").splitlines())
    with capsys.disabled():
        print("\nlines: " + ", ".join(f"{room} {count}" for room, count in sorted(lines.items())))
    assert sum(lines.values()) < LINES_AT_MOST
