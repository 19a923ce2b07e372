"""The time of a fit, its record, and when its search ends."""

import json
import time
from types import SimpleNamespace

import pytest

from nas.core import Objective, Proposal, Trial
from nas.errors import UsageError, UserError
from nas.fit.budget import MAX_TRIALS, FitBudget, Progress
from nas.fit.choice import best_trial
from nas.fit.clock import Clock
from nas.fit.record import Record


def trial(number, accuracy, loss=1.0, seconds=2.0, status="completed"):
    metrics = {"valid_accuracy": accuracy, "valid_loss": loss} if status == "completed" else {}
    return Trial(number, Proposal((number,)), str(number), str(number), 0, status, metrics, seconds)


def test_time_between_two_sessions_does_not_count(tmp_path):
    with Clock(Record(tmp_path), measured=True).running() as clock, clock.step("search"):
        time.sleep(0.05)
    time.sleep(0.3)
    again = Clock(Record(tmp_path), measured=True)
    assert 0.05 <= again.spent() < 0.3
    assert again.steps["search"] >= 0.05


def test_two_processes_do_not_run_the_same_fit(tmp_path):
    second = Clock(Record(tmp_path), measured=True)
    busy = pytest.raises(UsageError, match=r"another process is running this fit .*; wait for it, or set run=")
    with Clock(Record(tmp_path), measured=True).running(), busy, second.running():
        pass


def test_a_killed_process_has_noted_the_step_that_it_was_in(tmp_path):
    clock = Clock(Record(tmp_path), measured=True)
    with clock.step("search"):
        time.sleep(0.05)
        clock._note()
        assert Clock(Record(tmp_path), measured=True).steps["search"] >= 0.05


def test_with_recorded_speeds_only_planned_seconds_count(tmp_path):
    clock = Clock(Record(tmp_path), measured=False)
    time.sleep(0.02)
    assert clock.spent() == 0
    clock.charge(12.5)
    assert clock.spent() == 12.5


def test_a_step_is_done_once(tmp_path):
    record, made = Record(tmp_path / "new"), []
    for _ in range(2):
        assert record.once("plan", lambda: made.append(1) or {"minutes": 5}) == {"minutes": 5}
    assert made == [1]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(UserError, match=r"plan.json cannot be read .*; delete it to repeat this step"):
        Record(tmp_path).read("plan")
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(UserError, match=r"does not hold a record"):
        Record(tmp_path).read("plan")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*; free up disk space, or set dir="):
        Record(tmp_path / "file" / "fit").write("plan", {})
    assert json.loads((tmp_path / "plan.json").read_text()) == []


class EveryTrialTakesTen:
    """A plan with a deadline at 100 s, or at 50 s while trial 3 is the best."""

    unit, valid_images = 10.0, 100

    def trial_seconds(self, chosen):
        return 10.0

    def search_until(self, chosen, slowness):
        return 50.0 if chosen == {"number": 3} else 100.0


def progress(tmp_path):
    space = SimpleNamespace(settings=lambda architecture: {"number": architecture[0]})
    return Progress(space, EveryTrialTakesTen(), Clock(Record(tmp_path), measured=False))


def test_the_search_ends_where_the_final_training_of_the_best_must_begin(tmp_path):
    watching = progress(tmp_path)
    watching.start("run", [], None, Objective())
    done = 0
    while watching.has_time(done):
        watching.on_trial_end(trial(done, 0.5 if done != 3 else 0.4))
        done += 1
    assert done == 10  # the tenth starts at 90 s, and eight of its ten seconds must fit
    other = progress(tmp_path)
    other.start("run", [trial(n, 0.5 if n != 3 else 0.9) for n in range(5)], None, Objective())
    assert not other.has_time(5)


def test_two_trials_run_however_short_the_time_and_never_more_than_the_limit(tmp_path):
    watching = progress(tmp_path)
    watching.clock.charge(1000.0)
    watching.start("run", [trial(0, 0.5)], None, Objective())
    assert watching.has_time(1)
    watching.on_trial_end(trial(1, 0.5))
    assert not watching.has_time(2)
    watching.clock._charged = 0.0
    watching.trials *= MAX_TRIALS
    assert not watching.has_time(MAX_TRIALS)


def test_a_listener_that_has_failed_does_not_let_the_search_run_for_ever(tmp_path):
    watching = progress(tmp_path)
    assert watching.has_time(1)
    assert not watching.has_time(2)


def test_a_budget_asks_before_each_trial():
    answers = iter([True, False])
    budget = FitBudget(has_time=lambda asked: next(answers))
    assert budget.allows(0, lambda: 0.0, 0.0)
    assert not budget.allows(1, lambda: 0.0, 0.0)
    assert budget.trials is None


def test_of_trials_that_few_images_cannot_tell_apart_the_one_with_the_lowest_loss_wins():
    lucky, steady, poor = trial(0, 0.80, loss=2.0), trial(1, 0.76, loss=0.7), trial(2, 0.5, loss=0.1)
    failed = trial(3, 0.0, status="failed")
    assert best_trial([lucky, steady, poor, failed], images=100) is steady
    assert best_trial([lucky, steady, poor, failed], images=10_000) is lucky
    assert best_trial([failed], images=100) is None
