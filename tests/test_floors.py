"""The floors of the package: imports go downwards only, and each foreign library has its place."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "shardkit"

FLOORS = {
    "errors": 0,
    "clip": 1,
    "taxonomy": 1,
    "cores": 1,
    "sizes": 1,
    "interpreters": 1,
    "hdf5": 1,
    "format": 2,
    "media": 2,
    "planning": 2,
    "isolation": 2,
    "storage": 3,
    "annotations": 3,
    "decoding": 3,
    "loading": 4,
    "transforms": 4,
    "packing": 4,
    "tasks": 4,
    "report": 4,
    "indexing": 4,
    "front_door": 5,
    "cli": 5,
    "__init__": 5,
    "__main__": 5,
}
HOMES = {
    "torch": {"loading", "tasks", "transforms"},
    "torchaudio": {"transforms"},
    "torchmetrics": {"tasks"},
    "av": {"media"},
    "decord": {"media"},
    "simplejpeg": {"media"},
    "fsspec": {"storage"},
    "ray": {"packing"},
    "h5py": {"hdf5"},
}
IMPURE = {"os", "pathlib", "time", "datetime", "random", "secrets", "tempfile", "shutil", "subprocess", "threading"}
IMPURE |= {"multiprocessing", "socket", "signal", "glob", "fcntl", "mmap", "sys", "logging", "uuid", "urllib"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def _unit(parts):
    """The package or module right below shardkit that a path or a dotted name belongs to."""
    return parts[0] if parts else "__init__"


def _imports(path):
    """(line, dotted name) of every module that a file imports, wherever in it, type checking apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}".replace(".", "/")
                is_module = (PACKAGE.parent / f"{full}.py").exists() or (PACKAGE.parent / full).is_dir()
                yield node.lineno, f"{node.module}.{alias.name}" if is_module else node.module


def _home(path):
    return _unit(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_downwards_only(path):
    """A module imports its own package and lower floors: neither a higher one nor a neighbour on its own."""
    home = _home(path)
    for line, name in _imports(path):
        top, *rest = name.split(".")
        if top != "shardkit":
            continue
        target = _unit(rest)
        if target == home or FLOORS[home] == 5:  # the front door's modules know each other
            continue
        assert FLOORS[target] < FLOORS[home], f"{path}:{line}: {home} (floor {FLOORS[home]}) imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_foreign_libraries_stay_in_their_place(path):
    """A foreign library is imported by the packages that HOMES names for it, and by no other."""
    for line, name in _imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or _home(path) in homes, f"{path}:{line}: imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if _home(path) in ("format", "planning")],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_pure_packages_touch_nothing_outside(path):
    """format/ and planning/ import no files, clocks, environment or randomness, and do not use open or print."""
    for line, name in _imports(path):
        assert name.split(".")[0] not in IMPURE, f"{path}:{line}: imports {name}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input"), f"{path}:{node.lineno}: calls {node.func.id}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            assert (getattr(node.value.value, "id", ""), node.value.attr) != ("np", "random"), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_pythons_own_random_numbers_are_left_to_the_training(path):
    """Nothing draws from the generator that every user of `random` shares: a seeded training stays as it is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "random":
            assert node.attr in ("Random", "SystemRandom"), f"{path}:{node.lineno}: random.{node.attr}"
        assert not (isinstance(node, ast.ImportFrom) and node.module == "random"), f"{path}:{node.lineno}"


def test_every_module_has_a_floor():
    """A new package or module beside the others must say on which floor it stands."""
    assert {_home(path) for path in MODULES} <= set(FLOORS)


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        (
            "import shardkit",
            {"torch", "av", "decord", "simplejpeg", "fsspec", "pyarrow", "numpy", "webdataset", "h5py"},
        ),
        ("import shardkit.cli", {"torch", "av", "decord", "simplejpeg", "fsspec", "pyarrow", "webdataset"}),
        ("import shardkit.loading.worker", {"torch", "av", "decord", "fsspec", "webdataset"}),
        ("import shardkit.packing.worker", {"torch", "decord", "fsspec", "webdataset", "pyarrow"}),
        ("import shardkit.packing.pack", {"torch", "decord", "fsspec", "webdataset", "ray", "h5py"}),
        ("import shardkit.indexing.worker", {"torch", "decord", "fsspec", "webdataset", "pyarrow"}),
        ("import shardkit.indexing.run", {"torch", "av", "decord", "simplejpeg", "fsspec", "webdataset"}),
        ("import shardkit.loading.loader", {"av", "decord", "fsspec", "webdataset"}),
        ("import shardkit.tasks", {"torchmetrics"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement, forbidden):
    """In a fresh interpreter the front door loads no heavy library, workers no torch, the loader no FFmpeg."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=PACKAGE.parent
    ).stdout.split()
    assert not forbidden & set(loaded)
