"""How well shared weights rank architectures, and the commands that search, compare and report with them."""

import json
import re

import numpy as np
import pytest
from conftest import rows
from planted_weights import evaluator, run
from relaxed import Planted

from nas.evaluators.shared_weights import SharedWeights
from nas.store.leaderboard import leaderboard
from nas.store.memory import MemoryStore
from nas.studies.rank_correlation import rank_correlation
from nas.tables.table import Table

SMALL_SUPERNET = ["data=digits", "supernet.threads=1", "supernet.epochs=2", "supernet.network={channels: 4, cells: 1}",
         "supernet.train_images=128", "supernet.valid_images=128"]  # fmt: skip


@pytest.mark.parametrize("preset", ["spos", "rsps", "enas"])
def test_the_presets_run_end_to_end(nas, preset):
    done = nas("search", f"experiment={preset}", *SMALL_SUPERNET, "budget.trials=12", "run=one")
    assert done.returncode == 0, done.stderr
    trials = rows(nas, "run=one")
    assert [trial["status"] for trial in trials] == ["completed"] * 12
    assert "scored by a supernet" in done.stdout
    again = nas("search", f"experiment={preset}", *SMALL_SUPERNET, "budget.trials=14", "run=one", "format=json")
    assert json.loads(again.stdout)["trials"] == 14
    assert [trial["metrics"] for trial in rows(nas, "run=one")][:12] == [trial["metrics"] for trial in trials]


@pytest.mark.parametrize("executor", ["executor=inline", pytest.param("workers=1", marks=pytest.mark.slow)])
def test_strategies_are_compared_on_one_supernet(nas, refused, tmp_path, executor):
    arguments = [
        "compare",
        "strategies=[random,local_search]",
        "evaluator=shared_weights",
        *SMALL_SUPERNET,
        "seeds=2",
        "out=made",
    ]
    done = nas(*arguments, "budget.trials=4", executor)
    assert done.returncode == 0, done.stderr
    assert "local_search" in done.stdout
    for more, message in (
        ("evaluator.train=on_proposal", "evaluator.train=on_proposal: each run would continue with the weights"),
        ("strategies=[darts]", "learns on a supernet"),
        ("objective.metric=foo", "objective.metric must be one of"),
    ):
        refused(*arguments[:-1], more, "budget.trials=4", "out=other", match=re.escape(message))
        assert not (tmp_path / "other").exists()


def test_scores_are_compared_with_a_table(nas, table):
    done = nas(
        "search", "experiment=rsps", *SMALL_SUPERNET, "table=nasbench201", "budget.trials=12", "run=one", "format=json"
    )
    correlation = json.loads(done.stdout)["rank_correlation"]
    assert correlation["against"] == "c10_test_acc_200"
    assert correlation["n"] == correlation["of"] == 12
    assert -1 <= correlation["tau"] <= 1


class Matches:
    """Reports of each cell of `Planted` how many of its operations are the planted ones."""

    def __init__(self, space):
        self.space = space

    def reported(self, architecture):
        return {"right": sum(a == b for a, b in zip(architecture, self.space.planted, strict=True))}

    def optimum(self, column):
        return 2.0

    def direction(self, column):
        return "maximize"

    def label(self, column):
        return column


@pytest.mark.parametrize("train", ["before", "on_proposal"])
def test_the_rank_correlation_is_of_all_trials_or_of_a_stated_sample_of_the_whole_ranking(monkeypatch, train):
    from scipy.stats import kendalltau  # takes a second or two: not while the tests are collected

    monkeypatch.setattr("nas.studies.rank_correlation.MAX_SCORED", 5)
    scorer, store, scored = evaluator(train=train), MemoryStore(), []
    trials = run(scorer, 40, store=store)
    scorer.reporter = Matches(scorer.space)
    (entries,) = leaderboard(store, top=0)
    real = SharedWeights.scores
    monkeypatch.setattr(
        SharedWeights, "scores", lambda scorer, archs, device: scored.extend(archs) or real(scorer, archs, device)
    )
    correlation = rank_correlation(scorer, entries, "cpu", lambda: None)
    ranked = list(dict.fromkeys(entry.trial.proposal.architecture for entry in entries))
    assert correlation.of == len(ranked) > 10
    truth = [scorer.reporter.reported(architecture)["right"] for architecture in ranked]
    if train == "before":
        assert correlation.n == correlation.of
        assert scored == []  # every trial was scored by these very weights
        known = {trial.proposal.architecture: trial.metrics["valid_accuracy"] for trial in trials}
        assert correlation.tau == pytest.approx(
            kendalltau([known[architecture] for architecture in ranked], truth).statistic
        )
    else:
        assert correlation.n == 5
        positions = [ranked.index(architecture) for architecture in scored]
        assert (positions[0], positions[-1]) == (0, len(ranked) - 1)
        assert np.ptp(np.diff(positions)) <= 1


def test_a_table_may_be_smaller_than_its_space(monkeypatch, tmp_path):
    """As one of the DARTS space, which is too large to be checked for holding all of it."""
    monkeypatch.setattr("nas.tables.table.MAX_CHECKED_SIZE", 3)
    (tmp_path / "few.csv").write_text("arch,seen,hidden\n" + "".join(f"{Planted().to_text(a)},1,{n}\n" for n, a in
                                                                  enumerate([(0, 0), (1, 1)])))  # fmt: skip
    scorer = evaluator(table=Table(str(tmp_path / "few.csv"), "planted", "seen", reported=["hidden"]))
    assert scorer.reporter.reported((1, 1)) == {"hidden": 1.0}
    assert scorer.reporter.reported((2, 3)) == {}


def test_scores_are_compared_with_retrainings(nas):
    arguments = ["search", "experiment=rsps", *SMALL_SUPERNET, "budget.trials=4", "run=one"]
    assert "Kendall" not in nas(*arguments).stdout
    for number in range(3):
        quick = ["trainer.epochs=1", "trainer.train_images=200", "trainer.network={channels: 4, cells: 1}"]
        assert nas("retrain", "run=one", f"trial={number}", *quick).returncode == 0
    assert "Kendall's tau between the supernet's scores and test accuracy after retraining" in nas(*arguments).stdout
