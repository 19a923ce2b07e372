"""The table evaluator: exact rows, simulated costs, and reported columns that no search can see."""

import csv

import pytest
from light import LightSpace, steep

from nas import Budget, Proposal, UsageError, search
from nas.data.lock import TestSetLocked, locked_test_set
from nas.evaluators.table import TableEvaluator
from nas.settings import settings
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.random import RandomSearch
from nas.tables.table import Table
from search_spaces.nasbench201 import NASBench201

SPACE = LightSpace()


@pytest.fixture
def evaluator(tmp_path):
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "valid", "time", "test", "loss"])
        for a in SPACE.architectures():
            writer.writerow([SPACE.to_text(a), sum(a) / 18, 100 + a[0], sum(a), 18 - sum(a)])
    table = Table(str(path), "light", "valid", cost="time", reported=["test", "loss"], minimized=["loss"])
    return TableEvaluator(SPACE, table)


def test_every_query_is_looked_up_and_costs_its_time_a_repeated_one_too(evaluator):
    class Stubborn(RandomSearch):
        def ask(self, rng, pending):
            return Proposal((1, 2, 3, 0, 0, 0))

    result = search(SPACE, Stubborn, evaluator, budget=Budget(simulated_seconds=500))
    assert [trial.metrics for trial in result.trials] == [{"valid_accuracy": 6 / 18, "simulated_seconds": 101.0}] * 5
    assert all(trial.reused_from is None for trial in result.trials)


def test_no_trial_starts_after_the_simulated_seconds_are_spent(evaluator):
    result = search(SPACE, RandomSearch, evaluator, budget=Budget(simulated_seconds=1000))
    costs = [trial.metrics["simulated_seconds"] for trial in result.trials]
    assert sum(costs[:-1]) < 1000 <= sum(costs)
    assert result.ended == "budget"


def test_a_limit_that_nothing_would_reach_is_told_at_once(evaluator):
    free = TableEvaluator(SPACE, Table(evaluator.table.file, "light", "valid"))
    words = r"budget.simulated_seconds=5 is the only limit and would never be reached"
    with pytest.raises(UsageError, match=words):
        search(SPACE, RandomSearch, free, budget=Budget(simulated_seconds=5))
    with pytest.raises(UsageError, match=words):
        search(SPACE, RandomSearch, steep, budget=Budget(simulated_seconds=5))
    assert len(search(SPACE, RandomSearch, free, budget=Budget(simulated_seconds=5, trials=3)).trials) == 3


def test_reported_columns_are_in_no_trial_and_locked_while_a_search_runs(evaluator):
    result = search(SPACE, RandomSearch, evaluator, budget=Budget(trials=5))
    assert all(set(trial.metrics) == {"valid_accuracy", "simulated_seconds"} for trial in result.trials)
    assert evaluator.reported(result.best.proposal.architecture)["test"] == sum(result.best.proposal.architecture)
    assert (evaluator.optimum("test"), evaluator.optimum("loss")) == (18.0, 0.0)
    with locked_test_set():
        for peek in (lambda: evaluator.reported((0,) * 6), lambda: evaluator.optimum("test")):
            with pytest.raises(TestSetLocked, match="reported columns"):
                peek()

    def cheating(proposal, context):
        return steep(proposal, context) | evaluator.reported(proposal.architecture)

    cheated = search(SPACE, RandomSearch, cheating, budget=Budget(trials=2))
    assert all("reported columns" in trial.error for trial in cheated.trials)


def test_results_of_unequal_tables_are_not_comparable(evaluator, tmp_path):
    before = evaluator.protocol()
    path = tmp_path / "table.csv"
    path.write_text(path.read_text().replace("0.0,100", "0.001,100", 1))
    again = TableEvaluator(SPACE, evaluator.table)
    assert again.protocol() != before


def test_the_benchmarks_rows_and_costs_are_the_published_ones(table):
    made = settings("search", ["evaluator=table", "table=nasbench201"])
    space = made.make("space")
    evaluator = made.make("evaluator", space=space)
    result = search(space, RegularizedEvolution, evaluator, budget=Budget(trials=40))
    rows = {row["arch_str"]: row for row in table}
    for trial in result.trials:
        row = rows[trial.text]
        assert trial.metrics["valid_accuracy"] == pytest.approx(float(row["c10valid_valid_acc_12"]) / 100)
        assert trial.metrics["simulated_seconds"] == pytest.approx(0.06 * float(row["c10valid_train_time_200_s"]))
    best = evaluator.reported(result.best.proposal.architecture)
    assert best["c10_test_acc_200"] == float(rows[result.best.text]["c10_test_acc_200"])
    known = {"c10_test_acc_200": 94.37, "c100_test_acc_200": 73.51, "in16_test_acc_200": 47.31}
    assert {name: round(evaluator.optimum(name), 2) for name in known} == known
    assert isinstance(space, NASBench201)
