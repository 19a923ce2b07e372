"""A failing listener never ends a search, and events stay in the folder in which they were started."""

import warnings

import pytest
from conftest import steep
from tensorboard.summary.writer.record_writer import RecordWriter

from nas import Budget, UsageError, search
from nas.listeners.tensorboard import TensorBoard
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch


def searched(space, evaluator, trials=5, **more):
    return search(space, RandomSearch, evaluator, budget=Budget(trials=trials), **more)


def test_a_listener_that_fails_is_reported_once_and_disabled(toy_space):
    class Failing:
        closed = 0

        def start(self, run, trials, total, objective):
            pass

        def on_trial_end(self, trial):
            raise OSError(28, "No space left on device")

        def close(self):
            self.closed += 1

    listener = Failing()
    with pytest.warns(UserWarning, match="Failing failed and was stopped; the search continues") as warned:
        result = searched(toy_space, steep, listeners=[listener])
    assert len(result.trials) == 5
    assert len(warned) == 1
    assert listener.closed == 1


def test_a_full_disk_under_the_events_does_not_affect_the_search(toy_space, tmp_path, monkeypatch, capfd):
    def full(self, data):
        raise OSError(28, "No space left on device")

    def filling(proposal, context):
        monkeypatch.setattr(RecordWriter, "write", full)
        return steep(proposal, context)

    with pytest.warns(UserWarning, match="TensorBoard failed and was stopped") as warned:
        result = searched(toy_space, filling, trials=40, listeners=[TensorBoard(tmp_path / "one" / "tensorboard")])
    assert len(result.trials) == 40
    assert len(warned) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_an_evaluator_that_changes_the_folder_does_not_move_the_events(toy_space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def moving(proposal, context):
        monkeypatch.chdir(tmp_path / "elsewhere")
        context.report({"valid_accuracy": 0.5})
        return steep(proposal, context)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        searched(toy_space, moving, listeners=[TensorBoard(type(tmp_path)("one/tensorboard"))])
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "one" / "tensorboard").glob("*/events.out.tfevents.*"))) == 6


def test_two_searches_do_not_write_into_one_folder(toy_space, tmp_path):
    folder = tmp_path / "one" / "tensorboard"

    def second(proposal, context):
        with pytest.raises(
            UsageError, match="tensorboard is being written by another search; choose another run= or dir="
        ):
            searched(toy_space, steep, store=MemoryStore(), listeners=[TensorBoard(folder)])
        return steep(proposal, context)

    assert len(searched(toy_space, second, trials=1, listeners=[TensorBoard(folder)]).trials) == 1
    assert len(searched(toy_space, steep, listeners=[TensorBoard(folder)]).trials) == 5
