"""Who may import whom, read from the source. The arrows of ARCHITECTURE.md are this table."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

CORE = {"nas.core", "nas.errors", "nas.metrics"}
SPACE = {*CORE, "nas.space"}
INTERRUPT = "nas.interrupt"
ALLOWED = {
    "nas.core": set(),
    "nas.errors": set(),
    "nas.metrics": set(),
    "nas.graph": set(),
    "nas.space": {*CORE, "nas.graph"},
    "nas.drawing": {*CORE, "nas.files", "nas.graph"},
    INTERRUPT: set(),
    "nas.budget": CORE,
    "nas.resume": {*CORE, "nas.identity"},
    "nas.randomness": CORE,
    "nas.environment": set(),
    "nas.streams": set(),
    "nas.import_path": set(),
    "nas.output": {"nas.streams"},
    "nas.naming": set(),
    "nas.faults": CORE,
    "nas.network": set(),
    "nas.facts": {*SPACE, "nas.metrics", "nas.training"},
    "nas.files": CORE,
    "nas.identity": set(),
    "nas.checkpoint": {*CORE, "nas.files", "nas.identity"},
    "nas.description": set(),
    "nas.supernet": CORE,
    "nas.strategies": {*SPACE, "nas.supernet"},
    "nas.discretization": {*CORE, "nas.graph", "nas.supernet"},
    "nas.supernets": {*SPACE, "nas.checkpoint", "nas.data", "nas.identity", "nas.supernet", "nas.training"},
    "nas.plan": {*CORE, INTERRUPT, "nas.evaluation", "nas.executors", "nas.supernet"},
    "nas.data": CORE,
    "nas.training": {*CORE, "nas.data", "nas.network"},
    "nas.recount": {*CORE, "nas.evaluation", "nas.store"},
    "nas.tables": {*SPACE, "nas.files"},
    "nas.evaluators": {
        *SPACE,
        "nas.data",
        "nas.description",
        "nas.identity",
        "nas.supernets",
        "nas.tables",
        "nas.training",
    },
    "nas.evaluation": {*CORE, INTERRUPT, "nas.data"},
    "nas.executors": {*CORE, INTERRUPT, "nas.streams"},
    "nas.journal": {*CORE, "nas.identity"},
    "nas.analysis": {*CORE, "nas.drawing", "nas.files", "nas.output"},
    "nas.store": {*CORE, "nas.faults", "nas.identity"},
    "nas.agreement": {*CORE, "nas.store"},
    "nas.export": {
        *SPACE,
        "nas.data",
        "nas.environment",
        "nas.naming",
        "nas.files",
        "nas.output",
        "nas.retraining",
        "nas.settings",
        "nas.store",
        "nas.training",
    },
    "nas.reproduction": {"nas.settings", "nas.store"},
    "nas.winner": {*CORE, "nas.comparison", "nas.journal"},
    "nas.prediction": {*CORE, "nas.export"},
    "nas.selection": {*SPACE, "nas.export", "nas.identity", "nas.output", "nas.settings", "nas.store", "nas.winner"},
    "nas.listeners": {*CORE, "nas.streams"},
    "nas.search": {
        *SPACE,
        INTERRUPT,
        "nas.budget",
        "nas.data",
        "nas.description",
        "nas.environment",
        "nas.evaluation",
        "nas.executors",
        "nas.faults",
        "nas.identity",
        "nas.plan",
        "nas.randomness",
        "nas.recount",
        "nas.resume",
        "nas.store",
        "nas.supernet",
    },
    "nas.comparison": {
        *SPACE,
        "nas.analysis",
        "nas.budget",
        "nas.environment",
        "nas.data",
        "nas.executors",
        "nas.identity",
        "nas.journal",
        "nas.plan",
        "nas.search",
        "nas.store",
        "nas.supernet",
    },
    "nas.tabulation": {
        *SPACE,
        "nas.data",
        "nas.environment",
        "nas.executors",
        "nas.identity",
        "nas.journal",
        "nas.randomness",
        "nas.recount",
        "nas.training",
    },
    "nas.retraining": {*SPACE, "nas.checkpoint", "nas.data", "nas.files", "nas.store", "nas.training"},
    "nas.testing": {
        *SPACE,
        "nas.data",
        "nas.drawing",
        "nas.executors",
        "nas.export",
        "nas.randomness",
        "nas.supernet",
        "nas.training",
    },
    "nas.overrides": CORE,
    "nas.settings": {*CORE, "nas.configs", "nas.overrides"},
    "search_spaces": {*SPACE, "nas.graph", "nas.naming", "nas.network"},
}
OUTERMOST = {"nas", "nas.cli", "nas.commands", "nas.__main__"}


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


def imports(path: Path) -> set[str]:
    found = set()
    for node in at_run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" if node.module == "nas" else node.module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {layer(module) for module in found if module.split(".")[0] in ("nas", "search_spaces")}


@pytest.mark.parametrize("path", sources(), ids=name)
def test_a_module_imports_only_what_is_below_it(path):
    here = layer(name(path))
    if here in OUTERMOST:
        assert "search_spaces" not in imports(path)
        return
    assert here in ALLOWED, f"{here} is new: give it a place in this table and in ARCHITECTURE.md"
    above = imports(path) - ALLOWED[here] - {here}
    assert not above, f"{name(path)} imports {', '.join(sorted(above))}"


def test_hydra_is_known_to_the_settings_alone():
    def hydra(path):
        return any("hydra" in line or "omegaconf" in line for line in path.read_text().splitlines() if "import" in line)

    assert [name(path) for path in sources() if hydra(path)] == ["nas.overrides", "nas.settings"]


def test_test_images_are_read_by_retraining_and_tabulation_alone():
    """Promise 4, in the source: no other module of nas or search_spaces names what reads them."""
    asking = {name(path) for path in sources() if "read_test" in path.read_text()}
    readers = {"nas.data.dataset", "nas.data.lock", "nas.data.digits", "nas.data.cifar10"}
    assert asking == {*readers, "nas.retraining", "nas.tabulation", "nas.testing.data"}


def test_files_stay_small():
    for path in sources():
        lines = path.read_text().count("\n")
        assert lines <= (150 if path.parent.name == "strategies" else 400), f"{name(path)} has {lines} lines"


def test_every_package_is_listed_for_the_wheel():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {name(path.parent / "__init__.py") for path in sources() if path.name == "__init__.py"}
    assert listed == there | {"nas.configs"}
