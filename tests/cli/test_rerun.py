"""The commands that repeat a run, from what the store has of it."""

import shlex

import pytest
from conftest import QUICK_SETTINGS, rows

from nas.cli.rerun import search_command
from nas.store.sqlite import SQLiteStore

SUPERNET = ["supernet.epochs=1", "supernet.train_images=200", "supernet.network={channels: 4, cells: 1}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluator=table", "table=cifar10_8x8", "strategy=random"],
        ["strategy=random", *QUICK_SETTINGS],
        ["experiment=rsps", "data=digits", *SUPERNET],
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_command_of_a_run_repeats_it(nas, tmp_path, arguments):
    """A table brings its data set along, and an experiment its parts: naming those too would be refused."""
    assert nas("search", *arguments, "budget.trials=2", "run=one").returncode == 0
    (run,) = SQLiteStore(f"sqlite:///{tmp_path}/nas.db").runs()
    command = shlex.split(search_command(run, 1, None, ["run=two"]))
    assert command[:2] == ["nas", "search"]
    result = nas(*command[1:])
    assert result.returncode == 0, result.stderr
    one, two = ([row["arch"] for row in rows(nas, f"run={name}")] for name in ("one", "two"))
    assert one == two
