"""The commands that make a run again, from what was kept of it."""

import shlex

import pytest
from conftest import QUICK, rows

from nas.cli.rerun import search_command
from nas.store.sqlite import SQLiteStore

SUPERNET = ["supernet.epochs=1", "supernet.train_images=200", "supernet.network={channels: 4, cells: 1}"]


@pytest.mark.parametrize(
    "words",
    [
        ["evaluator=table", "table=cifar10_8x8", "strategy=random"],
        ["strategy=random", *QUICK],
        ["experiment=rsps", "data=digits", *SUPERNET],
    ],
    ids=lambda words: words[0],
)
def test_the_command_of_a_run_makes_it_again(nas, tmp_path, words):
    """A table brings its data set along, and an experiment its parts: naming those too would be refused."""
    assert nas("search", *words, "budget.trials=2", "run=one").returncode == 0
    (run,) = SQLiteStore(f"sqlite:///{tmp_path}/nas.db").runs()
    command = shlex.split(search_command(run, 1, None, ["run=two"]))
    assert command[:2] == ["nas", "search"]
    result = nas(*command[1:])
    assert result.returncode == 0, result.stderr
    one, two = ([row["arch"] for row in rows(nas, f"run={name}")] for name in ("one", "two"))
    assert one == two
