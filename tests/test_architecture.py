"""docs/architecture.md is the map of the house: imports go down its list of packages, and
nothing unsafe is called.
"""

import ast
import re
from pathlib import Path

import pytest

from autoloss_jax.algorithm import methods

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "autoloss_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MOST_ENTRIES = 14


def name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floors():
    """Package -> floor, from the numbered lines of the map; those of one line do not know each
    other.
    """
    block = re.search(
        r"```floors\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.S
    ).group(1)
    found = {}
    for line in block.strip().splitlines():
        number, packages = re.match(r"(\d+)\s+(.*?)(?:\s{2,}.*)?$", line).groups()
        found |= dict.fromkeys(packages.split(" | "), int(number))
    return found


def imports(path):
    """Dotted names below autoloss_jax of what a file imports, wherever in it."""
    known = {name(p) for p in FILES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autoloss_jax"):
            base = ".".join(node.module.split(".")[1:])
            for alias in node.names:
                full = f"{base}.{alias.name}".strip(".")
                yield full if full in known else base
        if isinstance(node, ast.Import):
            yield from (a.name[13:] for a in node.names if a.name.startswith("autoloss_jax."))


def test_the_map_names_every_package_and_no_other():
    packages = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert set(floors()) == packages | {"main", "report", "autoloss_jax"}


def test_the_front_door_is_a_page():
    no_doors = {"__pycache__", "py.typed"}  # the latter is an empty marker that must lie there
    entries = [p for p in PACKAGE.iterdir() if p.name not in no_doors]
    assert len(entries) <= MOST_ENTRIES, sorted(p.name for p in entries)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_down(path):
    order = floors()
    mine = name(path).split(".")[0] or "autoloss_jax"
    for imported in filter(None, imports(path)):
        theirs = imported.split(".")[0]
        assert theirs == mine or order[theirs] < order[mine], f"{name(path)} imports {imported}"


def compared(path):
    """Source of each comparison of a file that tells a method by its name."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            source = ast.get_source_segment(text, node)
            sides = [node.left, *node.comparators]
            parts = [part for side in sides for part in ast.walk(side)]
            words = {part.value for part in parts if isinstance(part, ast.Constant)}
            named = re.search(r'method\.name\b|\["method"\]', source)
            if named or words & (methods.METHODS.keys() - SHARED_WORDS):
                yield source


SHARED_WORDS = {"auto"}  # a value of other keys too


def test_only_the_table_of_methods_knows_a_method_by_its_name():
    others = [path for path in FILES if name(path) != "algorithm.methods"]
    assert {name(path): found for path in others if (found := list(compared(path)))} == {}


def test_no_imports_go_in_a_circle():
    graph = {name(path): {i for i in imports(path) if i} for path in FILES}
    while leaves := [n for n, below in graph.items() if not below & graph.keys() - {n}]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph, f"in circles, or above one: {sorted(graph)}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_unsafe_is_called(path):
    tree = ast.parse(path.read_text())
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
    }
    keywords = {k.arg for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords}
    assert not {"eval", "exec", "pickle", "literal_eval"} & names
    assert "allow_pickle" not in keywords


@pytest.mark.parametrize("path", FILES, ids=name)
def test_functions_fit_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, node.name


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.stem)
def test_no_test_imports_another(path):
    """What several of them need is in tests/support."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            dotted = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            parts = {part for name in dotted for part in name.split(".")}
            assert not {p for p in parts if p == "conftest" or p.startswith("test_")}, parts
