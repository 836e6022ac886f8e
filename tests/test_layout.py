"""The architecture, held: which way imports go, who may touch JAX internals, how long a file may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "memline"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE = 500

# A layer may import those after it, never those before it.
LAYERS = ("api", "plan", "passes", "rewrites", "analysis", "rules", "ir")
# Anyone may import these; they import nothing of memline but each other.
LEAVES = {
    *("options", "budget", "units", "hostmem", "devices", "errors", "files", "origin", "protobuf", "compat", "kernels")
}
# These stand beside the layers, and check or show what the passes made: they must not share code with them.
BESIDE = {"verify", "report"}
# Packing stands on its own: it knows of nothing of memline but the leaves.
ALONE = {"packing"}
INTERNALS = ("jax._src", "jaxlib", "jax.interpreters", "jax.extend")
# jaxlib's version is public knowledge.
PUBLIC_OF_JAXLIB = {"jaxlib.version"}


def imported_names(path: Path) -> Iterator[str]:
    """Full dotted names of all that a module imports, wherever in it the import stands."""
    package = ("memline", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str | None:
    """The first name under ``memline`` in a dotted name, if it is one of ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "memline" and len(parts) > 1 else None


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def may_import(importer: str, imported: str) -> bool:
    if importer == imported or imported in LEAVES:
        return True
    if importer in LEAVES:
        return False
    if importer in ALONE:
        return False
    if importer in BESIDE:
        return imported not in {"api", "plan", "passes", "rewrites"} or (importer == "report" and imported == "plan")
    if importer in LAYERS and imported in LAYERS:
        return LAYERS.index(importer) < LAYERS.index(imported)
    # The planner asks the verifier, and the top of the package ties everything together.
    return imported not in {"api", "cli"} or importer in {"__init__", "__main__", "cli"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
class TestEveryModule:
    def test_imports_go_one_way(self, path: Path):
        ours = {name: part_of(name) for name in imported_names(path)}
        wrong = [name for name, imported in ours.items() if imported and not may_import(part(path), imported)]
        assert not wrong, f"{part(path)} may not import {wrong}"

    def test_jax_internals_are_left_to_compat(self, path: Path):
        internal = [
            name
            for name in imported_names(path)
            if any(name == root or name.startswith(root + ".") for root in INTERNALS) and name not in PUBLIC_OF_JAXLIB
        ]
        assert part(path) == "compat" or not internal, f"import these in compat.py: {internal}"

    def test_it_opens_with_a_docstring(self, path: Path):
        assert ast.get_docstring(ast.parse(path.read_text()))

    def test_it_is_not_too_long(self, path: Path):
        assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_the_rules_can_fail():
    assert not may_import("ir", "passes")
    assert not may_import("rewrites", "passes")
    assert not may_import("verify", "passes")
    assert not may_import("errors", "ir")
    assert not may_import("plan", "api")
    assert not may_import("plan", "cli")
    assert not may_import("packing", "ir")
    assert may_import("plan", "verify")
    assert may_import("api", "ir")


def test_modules_were_found():
    assert len(MODULES) > 5
