"""Who may import whom, read from the source. The arrows of ARCHITECTURE.md are this table."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

CORE = {"nas.core", "nas.errors"}
SPACE = {*CORE, "nas.space"}
INTERRUPT = "nas.runtime.interrupt"
ALLOWED = {
    "nas.core": set(),
    "nas.errors": set(),
    "nas.core": set(),
    "nas.space.graph": set(),
    "nas.space": {*CORE, "nas.space.graph"},
    "nas.drawing": {*CORE, "nas.files", "nas.space.graph"},
    INTERRUPT: set(),
    "nas.engine.budget": CORE,
    "nas.engine.checks": {*CORE, "nas.identity"},
    "nas.engine.randomness": CORE,
    "nas.provenance": set(),
    "nas.runtime.streams": set(),
    "nas.runtime.import_path": set(),
    "nas.output": {"nas.runtime.streams"},
    "nas.space.naming": set(),
    "nas.store.faults": CORE,
    "nas.space.network": set(),
    "nas.training.summary": {*SPACE, "nas.core", "nas.training"},
    "nas.files": CORE,
    "nas.identity": set(),
    "nas.training.checkpoint": {*CORE, "nas.files", "nas.identity"},
    "nas.provenance": set(),
    "nas.supernets.base": CORE,
    "nas.strategies": {*SPACE, "nas.supernets.base"},
    "nas.discretization": {*CORE, "nas.space.graph", "nas.supernets.base"},
    "nas.supernets": {
        *SPACE,
        "nas.training.checkpoint",
        "nas.data",
        "nas.identity",
        "nas.supernets.base",
        "nas.training",
    },
    "nas.engine.trial": {*CORE, INTERRUPT, "nas.engine.evaluation", "nas.executors", "nas.supernets.base"},
    "nas.data": CORE,
    "nas.training": {*CORE, "nas.data", "nas.space.network"},
    "nas.engine.recount": {*CORE, "nas.engine.evaluation", "nas.store"},
    "nas.tables": {*SPACE, "nas.files"},
    "nas.evaluators": {
        *SPACE,
        "nas.data",
        "nas.provenance",
        "nas.identity",
        "nas.supernets",
        "nas.tables",
        "nas.training",
    },
    "nas.engine.evaluation": {*CORE, INTERRUPT, "nas.data"},
    "nas.executors": {*CORE, INTERRUPT, "nas.runtime.streams"},
    "nas.studies.journal": {*CORE, "nas.identity"},
    "nas.analysis": {*CORE, "nas.drawing", "nas.files", "nas.output"},
    "nas.store": {*CORE, "nas.store.faults", "nas.identity"},
    "nas.studies.rank_correlation": {*CORE, "nas.store"},
    "nas.export": {
        *SPACE,
        "nas.data",
        "nas.provenance",
        "nas.space.naming",
        "nas.files",
        "nas.output",
        "nas.studies.retraining",
        "nas.config.settings",
        "nas.store",
        "nas.training",
    },
    "nas.cli.rerun": {"nas.config.settings", "nas.store"},
    "nas.studies.winner": {*CORE, "nas.studies.comparison", "nas.studies.journal"},
    "nas.export.prediction": {*CORE, "nas.export"},
    "nas.cli.selection": {
        *SPACE,
        "nas.export",
        "nas.identity",
        "nas.output",
        "nas.config.settings",
        "nas.store",
        "nas.studies.winner",
    },
    "nas.listeners": {*CORE, "nas.runtime.streams"},
    "nas.search": {
        *SPACE,
        INTERRUPT,
        "nas.engine.budget",
        "nas.data",
        "nas.provenance",
        "nas.engine.evaluation",
        "nas.executors",
        "nas.store.faults",
        "nas.identity",
        "nas.engine.trial",
        "nas.engine.randomness",
        "nas.engine.recount",
        "nas.engine.checks",
        "nas.store",
        "nas.supernets.base",
    },
    "nas.studies.comparison": {
        *SPACE,
        "nas.analysis",
        "nas.engine.budget",
        "nas.provenance",
        "nas.data",
        "nas.executors",
        "nas.identity",
        "nas.studies.journal",
        "nas.engine.trial",
        "nas.search",
        "nas.store",
        "nas.supernets.base",
    },
    "nas.studies.tabulation": {
        *SPACE,
        "nas.data",
        "nas.provenance",
        "nas.executors",
        "nas.identity",
        "nas.studies.journal",
        "nas.engine.randomness",
        "nas.engine.recount",
        "nas.training",
    },
    "nas.studies.retraining": {*SPACE, "nas.training.checkpoint", "nas.data", "nas.files", "nas.store", "nas.training"},
    "nas.testing": {
        *SPACE,
        "nas.data",
        "nas.drawing",
        "nas.executors",
        "nas.export",
        "nas.engine.randomness",
        "nas.supernets.base",
        "nas.training",
    },
    "nas.config.overrides": CORE,
    "nas.config.settings": {*CORE, "nas.configs", "nas.config.overrides"},
    "search_spaces": {*SPACE, "nas.space.graph", "nas.space.naming", "nas.space.network"},
}
OUTERMOST = {"nas", "nas.cli", "nas.cli.commands", "nas.__main__"}


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

    assert [name(path) for path in sources() if hydra(path)] == ["nas.config.overrides", "nas.config.settings"]


def test_test_images_are_read_by_retraining_and_tabulation_alone():
    """Promise 4, in the source: no other module of nas or search_spaces names what reads them."""
    asking = {name(path) for path in sources() if "read_test" in path.read_text()}
    readers = {"nas.data.base", "nas.data.lock", "nas.data.digits", "nas.data.cifar10"}
    assert asking == {*readers, "nas.studies.retraining", "nas.studies.tabulation", "nas.testing.data"}


def test_files_stay_small():
    for path in sources():
        lines = path.read_text().count("\n")
        assert lines <= (150 if path.parent.name == "strategies" else 400), f"{name(path)} has {lines} lines"


def test_every_package_is_listed_for_the_wheel():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {name(path.parent / "__init__.py") for path in sources() if path.name == "__init__.py"}
    assert listed == there | {"nas.configs"}
