"""Which failed tasks run again, and what a trial keeps of it."""

from contextlib import contextmanager

import pytest
from light import LightSpace, steep

from nas import Budget, TrialFailed, search
from nas.executors.base import WorkerDied
from nas.executors.retries import Retrying
from nas.strategies.random import RandomSearch


class Fake:
    """Jobs in this process whose tasks are functions of the attempt; the oldest finishes first."""

    def __init__(self):
        self.running, self.attempts, self.beside = [], {}, []

    def submit(self, key, task):
        self.running.append((key, task))

    def wait(self):
        key, task = self.running.pop(0)
        self.beside.append((key, [other for other, _ in self.running]))
        self.attempts[key] = self.attempts.get(key, 0) + 1
        return [(key, task(self.attempts[key]))]


def died(kind="worker_died", until=10**9):
    """Fails up to an attempt."""
    return lambda attempt: WorkerDied("made to die", kind) if attempt <= until else f"attempt {attempt}"


@pytest.mark.parametrize(
    ("kind", "retries", "attempts"),
    [("worker_died", 2, 3), ("node_lost", 2, 3), ("worker_died", 0, 1), ("time_limit", 2, 1), ("own_kind", 2, 1)],
)
def test_only_what_a_worker_or_a_node_did_runs_again_elsewhere(kind, retries, attempts):
    fake = Fake()
    jobs = Retrying(fake, 2, retries)
    jobs.submit(7, died(kind))
    ((key, result),) = jobs.wait()
    assert (key, result, result.retries) == (7, WorkerDied("made to die", kind), attempts - 1)
    assert fake.attempts == {7: attempts}


def test_a_task_that_succeeds_at_last_returns_its_result():
    jobs = Retrying(Fake(), 2, 3)
    jobs.submit(1, died(until=2))
    assert jobs.wait() == [(1, "attempt 3")]


def test_a_task_out_of_memory_runs_once_more_and_alone():
    fake = Fake()
    jobs = Retrying(fake, 3, 0)
    jobs.submit(1, died("out_of_memory", until=1))
    jobs.submit(2, died(until=0))
    jobs.submit(3, died("out_of_memory"))
    assert jobs.wait() == [(2, "attempt 1")]
    jobs.submit(4, died(until=0))  # held back
    results = [result for _ in range(3) for result in jobs.wait()]
    assert results == [(1, "attempt 2"), (3, WorkerDied("made to die", "out_of_memory")), (4, "attempt 1")]
    assert fake.beside == [(1, [2, 3]), (2, [3]), (3, []), (1, []), (3, []), (4, [])]


def test_with_one_worker_a_task_out_of_memory_was_alone():
    jobs = Retrying(Fake(), 1, 3)
    jobs.submit(1, died("out_of_memory", until=1))
    assert jobs.wait() == [(1, WorkerDied("made to die", "out_of_memory"))]


class Two:
    """An executor of two workers in this process, whose first attempts of some trials lose their worker."""

    workers, order, retries = 2, "ordered", 1

    def __init__(self, lost):
        self.lost = lost

    @contextmanager
    def open(self, make, seconds=None):
        function, lost = make(), set(self.lost)

        class Jobs(Fake):
            def submit(self, key, task):
                def run(_attempt):
                    if key in lost:
                        lost.remove(key)
                        return WorkerDied("made to die", "node_lost")
                    return function(task)

                self.running.append((key, run))

        yield Jobs()


def test_a_retried_trial_keeps_its_number_seed_and_result():
    def found(lost):
        budget = Budget(trials=6)
        return search(LightSpace(), RandomSearch, steep, budget=budget, executor=Two(lost)).trials

    whole, retried = found(()), found((1, 4))
    assert [trial.cost for trial in retried] == [{"retries": 1.0} if n in (1, 4) else {} for n in range(6)]
    assert [(t.number, t.seed, t.metrics) for t in retried] == [(t.number, t.seed, t.metrics) for t in whole]


def test_a_trial_out_of_memory_runs_again_once():
    asked = []

    def evaluator(proposal, context):
        asked.append(proposal.architecture)
        if len(asked) == 1 or proposal.architecture == asked[1]:
            raise TrialFailed("out_of_memory", "too large")
        return steep(proposal, context)

    first, second, *rest = search(
        LightSpace(), RandomSearch, evaluator, budget=Budget(trials=4), executor=Two(())
    ).trials
    assert (first.status, first.cost) == ("completed", {"retries": 1.0})
    assert (second.status, second.error_kind, second.cost) == ("failed", "out_of_memory", {"retries": 1.0})
    assert all(trial.completed and not trial.cost for trial in rest)
