"""Commands that compute nothing start without torch, which takes seconds and hundreds of megabytes to import."""

import json
import subprocess
import sys

from conftest import QUICK_SETTINGS

PROGRAM = """
import contextlib, importlib, io, json, sys
from nas.cli.main import commands, main

for module in commands().values():  # what `nas COMMAND --help` imports
    importlib.import_module(module)

results = {}
for line in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(line)
    results[" ".join(line)] = [code, len(out.getvalue()) > 0, "torch" in sys.modules]
print(json.dumps(results))
"""
COMPARISON = ["compare", "strategies=[random]", "seeds=2", "budget.trials=5", "executor=inline", "out=comparison"]


def test_commands_that_compute_nothing_import_no_torch(searched, tmp_path):
    assert searched(*COMPARISON).returncode == 0
    lines = [
        ["--help"],
        ["--version"],
        ["search", "--help"],
        ["search", *QUICK_SETTINGS, "--cfg"],
        ["leaderboard"],
        ["leaderboard", "where=params<=1e6", "columns=[run,trial,params]", "format=csv"],
        ["runs"],
        ["show", "run=one"],
        ["show", "run=one", "trial=best"],
        ["report", "run=one"],
        ["store", "check"],
        ["store", "export", "out=all.jsonl"],
        ["store", "import", "from=all.jsonl"],
        COMPARISON,
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {" ".join(line): [0, True, False] for line in lines}
