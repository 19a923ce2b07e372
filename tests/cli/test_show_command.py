"""`nas show`: what is known of a run, or of one of its trials."""

import json

import pytest

from nas import Proposal, Trial
from nas.store.base import Retraining, Run
from nas.store.sqlite import SQLiteStore

DECISIONS = [["op", ["conv", "pool"]], ["width", ["16", "32"]]]


@pytest.fixture
def made(nas, tmp_path):
    """A run from Python with a long curve, a retraining, and a failed trial with its traceback."""
    store = SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}")
    config = {"decisions": DECISIONS, "sweep": "study"}
    with store.open(Run("mine", 7, config, {"split": "ab"}, {"python": "3.12"}), 2) as record:
        curve = [{"loss": 1 / epoch} for epoch in range(1, 101)]
        metrics = {"valid_accuracy": 0.5}
        record.add(Trial(0, Proposal((1, 0)), "pool-16", "c", 3, "completed", metrics, 1.5, curve=curve))
        error = {"error_kind": "error", "error": "boom", "traceback": "Traceback:\n  line 1\nValueError: boom"}
        record.add(Trial(1, Proposal((0, 1)), "conv-32", "d", 4, "failed", {}, 0.5, **error))
        record.end_session(2.0, "budget")
    store.add_retraining(Retraining("mine", 0, "s", "pool-16", "c", 9, {}, {"test_accuracy": 0.875}, 1.0, "folder"))
    return nas


def test_a_run_is_shown_with_state_settings_and_the_commands_to_repeat_it(searched):
    text = searched("show", "run=one").stdout
    assert text.startswith("run 'one': finished, 3/3 trials, 0 failed\nbest: valid_accuracy ")
    for line in ("  strategy: random", "  train_images: 200", "environment:", "protocol:"):
        assert line in text
    command = text.splitlines()[text.splitlines().index("commands:") + 1]
    assert command.startswith("  nas search ")
    assert "budget.trials=3" in command
    assert searched(*command.split()[1:], "--cfg").returncode == 0


def test_a_trial_is_shown_with_decisions_metrics_curve_and_retrainings(made):
    lines = made("show", "run=mine", "trial=best").stdout.splitlines()
    assert lines[:5] == ["run 'mine', trial 0: completed", "arch: pool-16", "decisions:", "  op: pool", "  width: '16'"]
    assert "  valid_accuracy: 0.5" in lines
    start = lines.index("curve: 100 epochs, 12 of them")
    rows = [line.split() for line in lines[start + 4 : start + 16]]
    assert (rows[0], rows[-1]) == (["1", "1"], ["100", "0.01"])
    assert any(line.split() == ["9", "0.875", "folder"] for line in lines)
    assert "  nas export run=mine trial=0" in lines


def test_a_failed_trial_is_shown_with_its_traceback(made):
    lines = made("show", "run=mine", "trial=1").stdout.splitlines()
    at = lines.index("error: error: boom")
    assert lines[at + 1 : at + 4] == ["Traceback:", "  line 1", "ValueError: boom"]
    assert not any("nas export" in line for line in lines)


def test_other_programs_get_every_fact(made):
    run = json.loads(made("show", "run=mine", "format=json").stdout)
    assert (run["seed"], run["state"], run["config"]["decisions"]) == (7, "finished", DECISIONS)
    assert run["commands"] == {"search": None}  # it was made in Python
    trial = json.loads(made("show", "run=mine", "trial=0", "format=json").stdout)
    assert trial["decisions"] == {"op": "pool", "width": "16"}
    assert len(trial["curve"]) == 100
    assert trial["retrained"][0]["metrics"] == {"test_accuracy": 0.875}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"run=null; expected the name of a run of the store \(nas runs lists them\)"),
        (["run=his"], "there is no run 'his' in the store; it has 'mine'"),
        (["run=study"], "there is no run 'study' in the store; 'study' is a sweep, and nas runs sweep=study lists its"),
        (["run=mine", "trial=2"], "trial=2 is not a trial of run 'mine'; expected best or 0 to 1"),
        (["run=mine", "trial=-1"], "trial=-1 is not a trial of run 'mine'; expected best or 0 to 1"),
        (["run=mine", "trial=99999999999999999999"], "trial=99999999999999999999 is not a trial of run 'mine'"),
        (["run=mine", "trial=first"], "trial=first is not a trial of run 'mine'"),
        (["run=mine", "format=csv"], "format must be one of table, json, got 'csv'"),
    ],
)
def test_what_does_not_exist_is_named(made, refused, arguments, message):
    refused("show", *arguments, match=message)
