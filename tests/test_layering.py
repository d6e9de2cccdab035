"""Imports go one way, and every edge library is imported in one place."""

import ast
from pathlib import Path

import pytest

import flaxae

PACKAGE = Path(__file__).parent.parent / "flaxae"

# A package imports only from itself and from packages before it.
ORDER = [
    "errors",
    "data",
    "models",
    "objectives",
    "training",
    "config",
    "evaluation",
    "report",
    "export",
    "runs",
    "api",
    "commands",
]

# library -> the packages that may import it
EDGES = {
    "tensorflow_datasets": {"data"},
    "mlxtend": {"data"},
    "msgspec": {"errors", "runs"},
    "docstring_parser": {"commands"},
    "orbax": {"runs"},
    "tensorboardX": {"runs"},
    "rich": {"report"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "umap": {"evaluation"},
    "pyarrow": {"export"},
    "sklearn": {"evaluation", "api"},  # api: the base classes of AnomalyDetector
    "flax.linen": {"models"},
}

# What only touches arrays.
PURE = (
    "models/",
    "objectives/",
    "training/step.py",
    "training/parts.py",
    "training/schedules.py",
    "training/averaging.py",
    "training/state.py",
)
IMPURE = {"os", "pathlib", "time", "sys", "json", "shutil", "tempfile", "random", "logging"}


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the package's root"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    module = module_of(path)
    assert module in ORDER, f"{module} has no place in the order: give it one"
    before = ORDER[: ORDER.index(module) + 1]
    own = {name.split(".")[1] for name in imports(path) if name.startswith("flaxae.")}
    assert own - {"__version__"} <= set(before)


@pytest.mark.parametrize("library", EDGES)
def test_edge_libraries_have_one_place(library):
    def uses(path):
        return any(name == library or name.startswith(f"{library}.") for name in imports(path))

    assert {module_of(path) for path in FILES if uses(path)} == EDGES[library]


def test_there_are_twelve_rooms_and_none_is_named_like_a_public_function():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    found = packages | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert found == set(ORDER)
    assert len(found) <= 12
    assert not found & set(flaxae.__all__)


def test_the_loop_does_not_import_what_listens_to_it():
    listeners = ("flaxae.runs", "flaxae.report", "flaxae.api", "rich", "orbax", "PIL")
    for path in (PACKAGE / "training").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith(listeners)], path


def test_pure_modules_touch_no_file_and_no_clock():
    for path in FILES:
        if path.relative_to(PACKAGE).as_posix().startswith(PURE):
            assert not {name.split(".")[0] for name in imports(path)} & IMPURE, path
            calls = [
                n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
            ]
            names = {call.id for call in calls if isinstance(call, ast.Name)}
            assert not names & {"print", "open", "input"}, path


def test_nothing_is_unpickled():
    """A pickle runs code of whoever wrote it."""
    unpicklers = set(
        ["pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"]
    )
    for path in FILES:
        assert not {name.split(".")[0] for name in imports(path)} & unpicklers, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


def test_text_reaches_the_terminal_in_few_places():
    """They escape it; elsewhere, `say` of flaxae.report.terminal prints."""
    printing = set()
    for path in FILES:
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        if any(isinstance(call, ast.Name) and call.id == "print" for call in calls):
            printing.add(path.relative_to(PACKAGE).as_posix())
    assert printing == {
        "commands/ending.py",
        "report/preparation.py",
        "report/terminal.py",
        "runs/disk_faults.py",
    }
