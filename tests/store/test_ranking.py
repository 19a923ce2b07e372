"""A database ranks its trials itself, with exactly the entries of the reference, which reads every trial."""

import math
import random
from itertools import product

import pytest

from nas import Proposal, Trial, UsageError
from nas.store.base import Retraining, Run
from nas.store.by_url import store_at
from nas.store.conditions import parse_condition
from nas.store.entries import Query
from nas.store.leaderboard import find_trial, leaderboard, ranked_in_python
from nas.store.sqlite import SQLiteStore

SORTS = ("score", "score asc", "number", "number desc", "latency", "latency desc", "latency asc", "memory", "seconds",
         "valid_accuracy", "params")  # fmt: skip
CONDITIONS = (None, "params<=40k", "status=failed or latency>=1", "not latency>1 and fidelity in (1, 3)", "run=run1",
              "score > 0.3 and strategy != random")  # fmt: skip
PERTURBED = {"type": "PCDARTS", "discretization": "Perturbation"}


def random_store(url, seed):
    """A store of five runs, with equal scores, NaN, failures, several fidelities, known faults and retrainings."""
    dice = random.Random(seed)
    store = store_at(url)
    for name in ("run1", "b", "a", "run10", "c"):
        protocol = {"recipe": {"epochs": dice.choice([1, 3])}, "split": dice.choice("xy")}
        protocol |= dice.choice([{}, {}, {"table": "abc"}, {"shared_weights": {"train": "before", "seed": 0}}])
        config = {
            "objective": {"metric": "valid_accuracy", "direction": dice.choice(["maximize", "minimize"])},
            "choices": {"strategy": dice.choice(["random", "darts"])},
            **dice.choice([{}, {"minimized": []}, {"minimized": ["latency"]}]),
            **dice.choice([{}, {"strategy": PERTURBED}, {"table": {"rows": "class"}}]),
        }
        with store.open(Run(name, 0, config, protocol)) as record:
            for number in range(dice.choice([0, 1, 4, 40])):
                record.add(random_trial(dice, number))
    for _ in range(10):
        run, trial = dice.choice(["run1", "b", None]), dice.randrange(5)
        metrics = {"test_accuracy": dice.random()}
        store.add_retraining(Retraining(run, trial if run else None, "toy", "t", "c", 0, {}, metrics, 1.0, "f"))
    return store


def random_trial(dice, number):
    architecture = (dice.randrange(3), dice.randrange(2))
    info = dice.choice([{}, {}, {}, {"probs": [1]}, {"stopped_early_at": 3}])
    proposal = Proposal(architecture, dice.choice([None, None, 1, 3]), info)
    metrics = {"valid_accuracy": dice.choice([0.1, 0.2, 0.3, 0.4, 0.5, math.nan, dice.random(), math.inf])}
    metrics |= dice.choice([{}, {"latency": dice.choice([0.5, 1.0, 2.0, math.nan])}])
    metrics |= {"parameters": 10_000 * dice.randrange(8)}
    failed = dice.random() < 0.2
    return Trial(
        number, proposal, str(architecture), f"class {architecture[0]}", dice.randrange(3),
        "failed" if failed else "completed", dice.choice([{}, {"latency": 1.5}]) if failed else metrics,
        dice.random(), dice.choice([{}, {}, {"memory": dice.random()}]), dice.choice([None, None, 0]),
        "error" if failed else None, "boom" if failed else None, [{"loss": 0.5}] * dice.randrange(3),
    )  # fmt: skip


def shown(sets):
    """Sets in a form in which NaN equals itself."""
    return [
        [(e.run.name, repr(e.trial), repr(e.score), repr(e.spread), e.members, repr(e.tested)) for e in entries]
        for entries in sets
    ]


def both(store, runs, query):
    """Entries of the database and of the reference, or the errors that they raise."""
    tested = {}
    for retraining in store.retrainings():
        tested.setdefault((retraining.run, retraining.trial), []).append(retraining)
    name = runs[0].name if len(runs) == 1 else None
    results = []
    for rank in (
        lambda: leaderboard(store, name, sort=query.sort, top=query.top, group=query.group, where=query.where),
        lambda: ranked_in_python(store, runs, query, tested),
    ):
        try:
            results.append(shown(rank()))
        except UsageError as error:
            results.append(str(error))
    return results


@pytest.mark.parametrize(
    ("kind", "seed"), [("sqlite", 0), ("sqlite", 1), ("sqlite", 2), ("postgres", 3), ("postgres", 4)]
)
def test_a_database_ranks_like_the_reference(tmp_path, request, kind, seed):
    url = f"sqlite:///{tmp_path / 'nas.db'}"
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        url = server.url(server.database())
    store = random_store(url, seed)
    runs, dice = store.runs(), random.Random(seed)
    for sort, condition, group in dice.sample([*product(SORTS, CONDITIONS, (False, True))], 25):
        query = Query(sort, dice.choice([1, 3, 50]), group, condition and parse_condition(condition))
        some = dice.choice([runs, runs[:1]])
        found, expected = both(store, some, query)
        assert found == expected, f"sort={sort} where={condition} group={group} top={query.top} runs={len(some)}"


def test_a_store_of_an_earlier_schema_is_ranked_without_its_scores(tmp_path):
    store = random_store(f"sqlite:///{tmp_path / 'nas.db'}", 1)
    expected = shown(leaderboard(store))
    with store.writer().begin() as connection:
        connection.exec_driver_sql("DROP INDEX trials_by_score")
        connection.exec_driver_sql("ALTER TABLE trials DROP COLUMN score")
    assert shown(leaderboard(store)) == expected


def test_the_best_trial_is_found_without_reading_the_others(tmp_path, monkeypatch, trial):
    store = SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}")
    with store.open(Run("one", 0, {}, {})) as record:
        for number in range(30):
            record.add(trial(number, None if number == 29 else number % 7 / 10))
    monkeypatch.setattr(SQLiteStore, "trials", None)
    assert find_trial(store, "one", "best")[1].number == 6
    assert find_trial(store, "one", 29)[1].error == "made to fail"
    with pytest.raises(UsageError, match="trial=030 is not a trial of run 'one'; expected best or 0 to 29"):
        find_trial(store, "one", "030")
