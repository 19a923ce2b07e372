"""The table evaluator: exact rows, simulated costs, and reported columns that no search can see."""

import csv
import random
from functools import partial

import pytest
from light import LightSpace, steep

from nas import Budget, Objective, Proposal, UsageError, search
from nas.analysis.curves import by_simulated_seconds
from nas.config.settings import compose
from nas.data.lock import TestSetLocked, locked_test_set
from nas.errors import NOT_IN_TABLE
from nas.evaluators.table import TableEvaluator
from nas.executors.inline import Inline
from nas.provenance import config_snapshot
from nas.store.base import Run, check_same_run
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.local_search import LocalSearch
from nas.strategies.random import RandomSearch
from nas.strategies.reinforce import Reinforce
from nas.studies.comparison import ComparisonSetup, StrategyEntry, columns, compare
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


def test_a_limit_that_nothing_would_reach_is_reported_at_once(evaluator):
    free = TableEvaluator(SPACE, Table(evaluator.table.file, "light", "valid"))
    message = r"budget.simulated_seconds=5 is the only limit and would never be reached"
    with pytest.raises(UsageError, match=message):
        search(SPACE, RandomSearch, free, budget=Budget(simulated_seconds=5))
    with pytest.raises(UsageError, match=message):
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


@pytest.fixture
def sampled(evaluator, tmp_path):
    """One architecture in eight."""
    lines = (tmp_path / "table.csv").read_text().splitlines()
    (tmp_path / "sample.csv").write_text("\n".join([lines[0], *random.Random(0).sample(lines[1:], 512)]) + "\n")
    table = Table(
        str(tmp_path / "sample.csv"), "light", "valid", cost="time", reported=["test", "loss"], minimized=["loss"],
        complete=False,
    )  # fmt: skip
    return TableEvaluator(SPACE, table)


@pytest.mark.parametrize(
    "strategy", [RandomSearch, partial(RegularizedEvolution, population_size=10, sample_size=3), LocalSearch, Reinforce]
)
def test_a_search_on_a_sample_fails_and_continues_where_the_table_has_no_row(sampled, strategy):
    budget = Budget(trials=300, simulated_seconds=2000)
    result = search(SPACE, strategy, sampled, budget=budget)
    done = [trial for trial in result.trials if trial.completed]
    missing = [trial for trial in result.trials if not trial.completed]
    assert result.ended == "budget"  # more than ten failures in a row are nobody's mistake here
    assert done
    assert len(missing) > 10
    assert {trial.error_kind for trial in missing} == {NOT_IN_TABLE}
    assert all(sampled.rows.has(trial.proposal.architecture) == trial.completed for trial in result.trials)
    assert sum(trial.metrics["simulated_seconds"] for trial in done[:-1]) < 2000  # what is missing costs nothing


def test_a_search_that_finds_no_row_any_more_ends(sampled):
    class Stubborn(RandomSearch):
        def ask(self, rng, pending):
            return Proposal((0, 0, 0, 0, 0, 1))

    result = search(SPACE, Stubborn, sampled, budget=Budget(simulated_seconds=500))
    assert (result.ended, len(result.trials), result.best) == ("finished", 1000, None)


def test_a_comparison_on_a_sample_counts_what_is_missing_and_has_the_samples_optimum(sampled, tmp_path):
    contenders = [StrategyEntry("random", RandomSearch, {})]
    match = ComparisonSetup(SPACE, sampled, Budget(trials=60), Objective())
    path, report = tmp_path / "runs.journal", lambda done, total: None
    results = compare(match, contenders, 2, path=path, executor=Inline(), about={}, remarks={}, report=report)
    assert all(0 < run.missing < run.queries == 60 for run in results)
    shown = columns(sampled, Objective(), results)
    rows = [a for a in SPACE.architectures() if sampled.rows.has(a)]
    assert {column.name: column.optimum for column in shown} == {
        "test": max(map(sum, rows)),
        "loss": 18 - max(map(sum, rows)),
    }
    again = compare(match, contenders, 2, path=path, executor=Inline(), about={}, remarks={}, report=report)
    assert [run.missing for run in again] == [run.missing for run in results]


def test_a_table_without_costs_is_compared_by_evaluations(tmp_path):
    """`table.cost=null` where no budget counts the cost."""
    made = compose("compare", ["table.cost=null"])
    space = made.make("space")
    match = ComparisonSetup(space, made.make("evaluator", space=space), Budget(trials=5), Objective())
    found = compare(
        match, [StrategyEntry("random", RandomSearch, {})], 2, path=tmp_path / "runs.journal", executor=Inline(),
        about={}, remarks={}, report=lambda done, total: None,
    )  # fmt: skip
    assert [(run.queries, run.simulated_seconds, run.steps[0].simulated_seconds) for run in found] == [
        (5, None, None)
    ] * 2
    assert by_simulated_seconds(found, columns(match.evaluator, Objective(), found)[0]) == []
    with pytest.raises(UsageError, match=r"set budget.trials, or table.cost"):
        search(space, RandomSearch, match.evaluator, budget=Budget(simulated_seconds=9))
    with pytest.raises(UsageError, match=r"table.metric must be text, got null"):
        compose("compare", ["table.metric=null"])


def test_the_benchmarks_rows_and_costs_are_the_published_ones(table):
    made = compose("search", ["evaluator=table", "table=nasbench201"])
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


def test_a_run_from_before_samples_is_continued(evaluator):
    """Its table has no setting `complete`, neither from YAML nor described from Python."""
    old = {"table": {"cost": "time"}, "evaluator": {"table": {"cost": "time"}}}
    table = {"cost": "time", "complete": True}
    new = {"table": table, "evaluator": {"table": table}}
    check_same_run(Run("r", 0, old), Run("r", 0, new))
    assert config_snapshot(evaluator)["table"]["complete"] is True
    with pytest.raises(UsageError, match=r"table.complete=unset \(now False\)"):
        check_same_run(Run("r", 0, old), Run("r", 0, new | {"table": {"cost": "time", "complete": False}}))
