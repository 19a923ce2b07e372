"""Ctrl-C in the first seconds of a command, while everything is imported."""

import os
import subprocess
import sys

import pytest

WATCHED_PROGRAM = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(10000):  # a handler runs between two instructions
                    pass
            except KeyboardInterrupt:
                if not {swallows}:
                    raise

sys.meta_path.insert(0, Finder())
"""
ARGUMENTS = ["search", "strategy=random", "evaluator=table", "table=cifar10_8x8", "budget.trials=50", "progress=false"]


@pytest.mark.parametrize(
    ("module", "swallows"),
    [("nas.core", False), ("nas.config.settings", False), ("nas.cli.commands.search", True)],
)
def test_ctrl_c_while_modules_are_imported_ends_the_command(shell, tmp_path, module, swallows):
    (tmp_path / "sitecustomize.py").write_text(WATCHED_PROGRAM.format(module=module, swallows=swallows))
    result = shell(*ARGUMENTS, env={"PYTHONPATH": str(tmp_path)})
    assert not result.stdout
    assert result.stderr == "\nnas: interrupted\n"
    assert result.returncode == 130
    assert not (tmp_path / "nas.db").exists()


def test_ctrl_c_that_an_import_swallows_during_a_search_ends_it(shell, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCHED_PROGRAM.format(module="torch.utils.tensorboard", swallows=True))
    result = shell(*ARGUMENTS, env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 130
    assert "interrupted; every finished trial is stored. Resume with:" in result.stderr


def test_ctrl_c_that_is_switched_off_stays_so(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCHED_PROGRAM.format(module="nas.core", swallows=False))
    arguments = ["-c", f"trap '' INT; exec {sys.executable} -m nas --version"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(["sh", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0
