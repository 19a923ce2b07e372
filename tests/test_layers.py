"""Who may import whom, read from the source. The arrows of ARCHITECTURE.md are this table."""

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

NOUNS = {"nas.core", "nas.errors", "nas.validation"}
"""What everything may import: nouns, errors, and checks of values."""
ALLOWED = {
    "nas.errors": set(),
    "nas.formatting": set(),
    "nas.identity": set(),
    "nas.provenance": set(),
    "nas.runtime": set(),
    "nas.validation": {"nas.errors"},
    "nas.core": {"nas.errors", "nas.validation"},
    "nas.files": {*NOUNS},
    "nas.space": {*NOUNS, "nas.formatting", "nas.runtime"},
    "nas.backbones": {*NOUNS, "nas.runtime"},
    "search_spaces": {*NOUNS, "nas.backbones", "nas.space", "nas.supernets"},
    "nas.data": {*NOUNS, "nas.files", "nas.formatting", "nas.pictures", "nas.runtime"},
    "nas.pictures": {*NOUNS, "nas.files", "nas.formatting", "nas.runtime"},
    "nas.inspection": {
        *NOUNS, "nas.analysis", "nas.backbones", "nas.data", "nas.files", "nas.formatting", "nas.pictures",
        "nas.runtime",
    },
    "nas.drawing": {*NOUNS, "nas.files", "nas.space"},
    "nas.tables": {*NOUNS, "nas.files", "nas.runtime", "nas.space"},
    "nas.training": {*NOUNS, "nas.data", "nas.files", "nas.formatting", "nas.identity", "nas.runtime", "nas.space"},
    "nas.supernets": {*NOUNS, "nas.data", "nas.identity", "nas.runtime", "nas.space", "nas.training"},
    "nas.strategies": {*NOUNS, "nas.formatting", "nas.runtime", "nas.space", "nas.supernets"},
    "nas.discretization": {*NOUNS, "nas.runtime", "nas.space", "nas.supernets"},
    "nas.evaluators": {
        *NOUNS, "nas.data", "nas.files", "nas.identity", "nas.provenance", "nas.runtime", "nas.space", "nas.supernets",
        "nas.tables", "nas.training",
    },
    "nas.listeners": {*NOUNS, "nas.runtime"},
    "nas.executors": {*NOUNS, "nas.runtime"},
    "nas.launchers": {*NOUNS, "nas.executors", "nas.files", "nas.runtime"},
    "nas.store": {*NOUNS, "nas.formatting", "nas.identity", "nas.runtime"},
    "nas.analysis": {*NOUNS, "nas.drawing", "nas.files", "nas.formatting"},
    "nas.engine": {
        *NOUNS, "nas.data", "nas.evaluators", "nas.executors", "nas.identity", "nas.listeners", "nas.provenance",
        "nas.runtime", "nas.space", "nas.store", "nas.strategies", "nas.supernets",
    },
    "nas.studies": {
        *NOUNS, "nas.analysis", "nas.data", "nas.engine", "nas.evaluators", "nas.executors", "nas.files",
        "nas.identity", "nas.provenance", "nas.runtime", "nas.space", "nas.store", "nas.strategies", "nas.supernets",
        "nas.training",
    },
    "nas.export": {
        *NOUNS, "nas.data", "nas.drawing", "nas.files", "nas.formatting", "nas.pictures", "nas.provenance",
        "nas.runtime", "nas.space", "nas.store", "nas.studies", "nas.training",
    },
    "nas.fit": {
        *NOUNS, "nas.analysis", "nas.data", "nas.engine", "nas.files", "nas.space", "nas.store", "nas.training",
    },
    "nas.report": {
        *NOUNS, "nas.analysis", "nas.drawing", "nas.files", "nas.fit", "nas.formatting", "nas.identity", "nas.space",
        "nas.store", "nas.studies",
    },
    "nas.serve": {*NOUNS, "nas.export", "nas.pictures", "nas.runtime"},
    "nas.testing": {
        *NOUNS, "nas.data", "nas.drawing", "nas.engine", "nas.evaluators", "nas.executors", "nas.export", "nas.runtime",
        "nas.space", "nas.store", "nas.strategies", "nas.supernets", "nas.training",
    },
    "nas.config": {*NOUNS, "nas.configs", "nas.identity", "nas.space"},
}  # fmt: skip
OUTERMOST = {"nas", "nas.cli", "nas.__main__"}


def sources():
    return sorted([*(ROOT / "nas").rglob("*.py"), *(ROOT / "search_spaces").rglob("*.py")])


def layer(module: str) -> str:
    if module.startswith("search_spaces"):
        return "search_spaces"
    return ".".join(module.split(".")[:2])


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def at_run_time(tree: ast.AST):
    """All nodes but those below `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from at_run_time(node)


@cache
def public_names(package: str) -> dict[str, str]:
    """Name that the face of a package offers -> the module that it comes from."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: node.module for node in froms for alias in node.names}


def module_of(package: str, imported: str) -> str:
    """The module that `from package import imported` needs: a module of the package, or the one that defines the name.

    So a part may name the public `from nas import Objective`, and what counts is `nas.core`.
    """
    folder = ROOT / package.replace(".", "/")
    if (folder / f"{imported}.py").is_file() or (folder / imported).is_dir():
        return f"{package}.{imported}"
    return public_names(package).get(imported, package)


def whole_imports(path: Path, nodes: Callable[[ast.AST], Iterable[ast.AST]] = at_run_time) -> set[str]:
    """The modules of the project that a file imports; by default not those that only type checkers need."""
    found = set()
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            is_package = (ROOT / node.module.replace(".", "/") / "__init__.py").is_file()
            found |= {module_of(node.module, alias.name) if is_package else node.module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module.split(".")[0] in ("nas", "search_spaces")}


def imports(path: Path) -> set[str]:
    return {layer(module) for module in whole_imports(path)}


@pytest.mark.parametrize("path", sources(), ids=name)
def test_a_module_imports_only_what_is_below_it(path):
    here = layer(name(path))
    if here in OUTERMOST:
        assert "search_spaces" not in imports(path)
        return
    assert here in ALLOWED, f"{here} is new: give it a place in this table and in ARCHITECTURE.md"
    above = imports(path) - ALLOWED[here] - {here}
    assert not above, f"{name(path)} imports {', '.join(sorted(above))}"


def test_a_public_name_counts_as_the_module_that_defines_it():
    assert module_of("nas", "Objective") == "nas.core"
    assert module_of("nas", "search") == "nas.engine.search"
    assert module_of("nas.data", "DataSet") == "nas.data.base"
    assert module_of("nas.data", "digits") == "nas.data.digits"


def test_no_circle():
    """Neither between packages nor between modules, imports for type checkers included."""
    table = {here: above - {here} for here, above in ALLOWED.items()}
    modules = {name(path): whole_imports(path, ast.walk) for path in sources() if path.name != "__init__.py"}
    for arrows in (table, modules):
        left = dict(arrows)
        while free := [node for node, imported in left.items() if not imported & left.keys()]:
            for node in free:
                del left[node]
        assert not left


def test_only_nas_config_knows_hydra():
    def hydra(path):
        return any("hydra" in line or "omegaconf" in line for line in path.read_text().splitlines() if "import" in line)

    assert {layer(name(path)) for path in sources() if hydra(path)} == {"nas.config"}


def test_only_retraining_and_tabulation_read_test_images():
    """Promise 4, in the source: besides data sets, no other module of nas or search_spaces names what reads them.

    `nas.fit.pictures` shows the mistakes of a network after it was tested."""
    asking = {name(path) for path in sources() if "read_test" in path.read_text()}
    asking = {module for module in asking if layer(module) != "nas.data"}
    assert asking == {"nas.fit.pictures", "nas.studies.retraining", "nas.studies.tabulation", "nas.testing.data"}


def test_files_stay_small():
    for path in sources():
        lines = path.read_text().count("\n")
        assert lines <= (150 if path.parent.name == "strategies" else 400), f"{name(path)} has {lines} lines"


def test_every_package_is_listed_for_the_wheel():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {name(path.parent / "__init__.py") for path in sources() if path.name == "__init__.py"}
    assert listed == there | {"nas.configs"}
