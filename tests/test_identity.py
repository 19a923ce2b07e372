"""A setting that a later version adds, at its neutral value, leaves earlier work resumable and names as they were."""

import json

import pytest
from conftest import steep

from nas import Budget, UsageError, search
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.commands.search import automatic_name
from nas.identity import identifying
from nas.journal import journal
from nas.store.base import Run, check_same_run
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch

BEFORE = {"trainer": {"lr": 0.1}, "budget": {"trials": 3}}
NEUTRAL = {"trainer": {"lr": 0.1, "optimizer": "sgd", "mixup": 0}, "budget": {"trials": 3, "trial_seconds": None}}
OTHER = {"trainer": {"lr": 0.1, "optimizer": "adamw"}, "budget": {"trials": 3}}


def test_neutral_values_of_added_settings_do_not_identify():
    assert identifying(NEUTRAL) == BEFORE
    assert identifying({"evaluator": NEUTRAL}) == {"evaluator": BEFORE}
    assert identifying(NEUTRAL["trainer"], "trainer") == BEFORE["trainer"]
    assert identifying(OTHER) == OTHER
    assert identifying({"mixup": 0.0, "network": {"optimizer": "sgd"}}) == {
        "mixup": 0.0,
        "network": {"optimizer": "sgd"},
    }


@pytest.mark.parametrize(("stored", "wanted"), [(BEFORE, NEUTRAL), (NEUTRAL, BEFORE)])
def test_a_run_resumes_across_versions(stored, wanted):
    check_same_run(Run("one", 0, stored), Run("one", 0, wanted))
    with pytest.raises(UsageError, match=r"trainer.optimizer=(unset|sgd), now it is adamw"):
        check_same_run(Run("one", 0, stored), Run("one", 0, OTHER))


@pytest.mark.parametrize(("stored", "wanted"), [(BEFORE, NEUTRAL), (NEUTRAL, BEFORE)])
def test_a_search_resumes_across_versions(toy_space, stored, wanted):
    store = MemoryStore()
    search(toy_space, RandomSearch, steep, budget=Budget(trials=2), store=store, config=stored)
    again = search(toy_space, RandomSearch, steep, budget=Budget(trials=3), store=store, config=wanted)
    assert again.resumed == 2


@pytest.mark.parametrize(("stored", "wanted"), [(BEFORE, NEUTRAL), (NEUTRAL, BEFORE)])
def test_journals_and_checkpoints_resume_across_versions(tmp_path, stored, wanted):
    for identity in (stored, wanted):
        with journal(tmp_path / "runs.journal", identity, {}, ()) as opened:
            assert opened.lines == []
    assert json.loads((tmp_path / "runs.journal").read_text()) == stored
    with (
        pytest.raises(UsageError, match=r"trainer.optimizer=.*, now it is 'adamw'"),
        journal(tmp_path / "runs.journal", OTHER, {}, ()),
    ):
        pass
    save_checkpoint(tmp_path / "state.pt", stored, {"epoch": 3})
    assert load_checkpoint(tmp_path / "state.pt", wanted)["epoch"] == 3


def test_an_automatic_name_knows_no_neutral_values():
    choices = {"space": "s", "strategy": "t", "data": "d"}
    assert automatic_name({**BEFORE, "choices": choices}) == automatic_name({**NEUTRAL, "choices": choices})
    assert automatic_name({**BEFORE, "choices": choices}) != automatic_name({**OTHER, "choices": choices})
