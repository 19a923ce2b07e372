"""Closed, full and broken standard streams, output of a user's parts, and modules named like the library's."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, stored_trials

from nas import Budget, search
from nas.cli.output import Bar
from nas.listeners.progress import Progress
from nas.runtime.import_path import add_current_folder, current_folder_last
from nas.strategies.random import RandomSearch

PART = """
import os
import subprocess
from light import LightSpace

def shout(who):
    print(f"{who} says hello")
    if "BELOW" in os.environ:
        os.write(1, f"{who} writes below Python\\n".encode())
        subprocess.run(["echo", f"{who} starts a process"], check=True)

class Space(LightSpace):
    def __init__(self):
        shout("space")

class Strategy:
    def __init__(self, *, space, objective):
        from nas.strategies.random import RandomSearch
        shout("strategy")
        self.inner = RandomSearch(space, objective)

    def reset(self, rng): self.inner.reset(rng)
    def ask(self, rng, pending): return self.inner.ask(rng, pending)
    def tell(self, trial): self.inner.tell(trial)

class Evaluator:
    def __init__(self, space): ...
    def __call__(self, proposal, context):
        shout("evaluator")
        if proposal.architecture[0] == 3:
            raise ValueError("three")
        return {"valid_accuracy": sum(proposal.architecture) / 18}
"""
NAS = str(Path(sys.executable).with_name("nas"))
PARTS = ["space=loud", "strategy=loud", "evaluator=loud"]
ARGUMENTS = ["--config-dir", "conf", "search", *PARTS, "budget.trials=4", "run=r"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a user's parts, which print, and modules beside them that are named like the library's."""
    (tmp_path / "loud.py").write_text(PART)
    for kind, name in (("space", "Space"), ("strategy", "Strategy"), ("evaluator", "Evaluator")):
        (tmp_path / "conf" / kind).mkdir(parents=True)
        (tmp_path / "conf" / kind / "loud.yaml").write_text(f"_target_: loud.{name}\n")
    for name in ("queue", "random", "socket", "trace", "secrets"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the library was replaced')\n")
    return tmp_path


def shell(folder, command):
    """Runs a command line in a shell, which can close and redirect streams."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "tests")}  # for `light`
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_stdout_is_one_document_whatever_parts_and_their_workers_print(folder):
    done = shell(folder, f"BELOW=1 {NAS} {' '.join(ARGUMENTS)} executor=processes workers=1 format=json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"] == 4
    for who in ("space", "strategy", "evaluator"):
        for output in ("says hello", "writes below Python", "starts a process"):
            assert f"{who} {output}" in done.stderr


def test_a_search_needs_no_streams_and_a_full_one_does_not_end_it(folder):
    module = f"{sys.executable} -m nas {' '.join(ARGUMENTS)}"
    closed = shell(folder, f"{module} >/dev/full 2>&- <&-")
    assert not closed.stderr  # the result was lost, the search was not
    assert closed.returncode == 1
    assert stored_trials(folder / "nas.db") == 4
    full = shell(folder, f"{module} budget.trials=8 2>/dev/full | head -1")
    assert full.stdout == "space says hello\n"
    assert full.returncode == 0
    assert stored_trials(folder / "nas.db") == 8


LIGHT_PROGRAM = """
import contextlib, os, sys
from nas.runtime import streams
streams.prepare()
file = open("bystander", "w")
print("a message", file=sys.stderr)
with contextlib.suppress(OSError):
    os.write(2, b"below Python ")
print("a result", flush=True)
sys.exit(streams.finish(0))
"""


@pytest.mark.parametrize(
    ("redirections", "code", "output"),
    [
        (">&- 2>&- <&-", 0, ""),
        (">/dev/full", 1, "nas: the result cannot be written to stdout (No space left on device); stored results"),
        ("2>/dev/full | grep result", 0, "a result"),
        ("2>&- | true", 0, ""),
        ("</dev/null 2>&1 | cat", 0, "a message\nbelow Python a result"),
    ],
)
def test_what_cannot_be_written_is_dropped_and_a_lost_result_is_reported(tmp_path, redirections, code, output):
    done = shell(tmp_path, f"{sys.executable} -c '{LIGHT_PROGRAM}' {redirections}")
    assert done.returncode == code
    assert output in done.stdout + done.stderr
    assert (tmp_path / "bystander").read_text() == ""  # no message went to a file that got a closed stream's number


def test_progress_needs_no_stderr(monkeypatch, capsys, toy_space):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    for stream in (None, Full()):
        monkeypatch.setattr(sys, "stderr", stream)
        bar = Bar(True, "run")
        bar.report(1, 2)
        bar.close()
        result = search(toy_space, RandomSearch, fails, budget=Budget(trials=3), listeners=[Progress()])
        assert len(result.trials) == 3
    assert capsys.readouterr().out == ""  # where print() would write what is meant for a closed stderr


def fails(proposal, context):
    raise ValueError("no")


def test_the_current_folder_comes_after_the_library(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/installed"])
    add_current_folder()
    add_current_folder()
    assert sys.path == ["/installed", str(tmp_path)]
    for command, last in (
        (["python", "-m", "nas", "search"], True),
        (["python", "-X", "dev", "-mnas", "search"], True),
        (["python", "-m", "pytest", "nas"], False),  # another program may put its own folder first
    ):
        monkeypatch.setattr(sys, "orig_argv", command)
        monkeypatch.setattr(sys, "argv", ["-m", command[-1]])
        monkeypatch.setattr(sys, "path", [str(tmp_path), "/installed"])
        current_folder_last()
        assert (sys.path[-1] == str(tmp_path)) is last


@pytest.mark.parametrize("command", [["describe", "space=loud"], ["leaderboard", "store=loud"]])
def test_stdout_of_every_command_with_a_json_result_is_one_document(folder, nas, command):
    (folder / "conf" / "store").mkdir()
    (folder / "conf" / "store" / "loud.yaml").write_text("_target_: loud.Store\n")
    (folder / "loud.py").write_text(
        PART + "\nfrom nas.store.memory import MemoryStore\n"
        "class Store(MemoryStore):\n"
        "    def __init__(self):\n        super().__init__()\n        shout('store')\n"
    )
    done = nas("--config-dir", "conf", *command, "format=json")
    assert done.returncode == 0
    json.loads(done.stdout)
    assert "says hello" in done.stderr
    assert sys.stdout is not sys.stderr  # as it was
