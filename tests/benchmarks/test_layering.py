"""A benchmark imports from benchmarks.common and flaxae, never from another benchmark."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """The modules of benchmarks that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the root"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else node.module for name in names]
            yield from (name for name in found if name in MODULES)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_itself_and_common_only(module: str):
    rooms = {room_of(name) for name in imports(MODULES[module])}
    assert rooms <= {room_of(module), "common"}


def test_no_import_is_circular():
    graph = {module: set(imports(path)) - {module} for module, path in MODULES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_room_starts_by_its_name():
    rooms = {room_of(module) for module in MODULES} - {"", "common"}
    assert rooms == {
        "anomaly",
        "data",
        "devices",
        "gpu",
        "image_sizes",
        "layouts",
        "programs",
        "train_step",
        "scaling",
        "whole_run",
        "quality",
        "report",
        "time_to_quality",
    }
    assert all(f"benchmarks.{room}.__main__" in MODULES for room in rooms)
