"""docs/architecture.md is the map of the house: a file imports only from floors below its own."""

import ast
import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "autoloss_jax"
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.read_text().strip())


def name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "/".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def floors():
    """File -> floor, from the numbered lines of the map; on one floor, from right to left, `a <- b` lets b import a.

    `models/*` is whatever the line has not named before.
    """
    block = re.search(r"```floors\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.S).group(1)
    order = {}
    for line in block.strip().splitlines():
        number, rest = re.match(r"\s*(\d+)\s+\w+\s+(.*)", line).groups()
        for group in rest.split("|"):
            for position, chain in enumerate(group.split("<-")):
                for file in chain.split():
                    for match in fnmatch.filter(map(name, FILES), file) or [file]:
                        order.setdefault(match, (int(number), position))
    return order


def imports(path):
    known = {name(p) for p in FILES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autoloss_jax"):
            base = node.module.split(".")[1:]
            for alias in node.names:
                full = "/".join([*base, alias.name])
                found = full if full in known else "/".join(base)
                if found:
                    yield found
        if isinstance(node, ast.Import):
            yield from (
                "/".join(a.name.split(".")[1:]) for a in node.names if a.name.startswith("autoloss_jax.")
            )


def test_the_map_names_every_file_and_no_other():
    assert set(floors()) == {name(p) for p in FILES} - {"__init__", "data", "learned", "search", "studies"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_imports_only_from_below(path):
    order = floors()
    for imported in imports(path):
        if imported not in ("data", "learned"):
            assert order[imported] < order[name(path)], f"{name(path)} imports {imported}"


def test_the_algorithm_imports_nothing_of_ours():
    assert list(imports(PACKAGE / "autoloss.py")) == []


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
def test_files_fit_a_room_and_functions_a_screen(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 320
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, node.name
