"""A setting that a later version adds, at its neutral value, changes no identity: earlier work resumes, names stay."""

import json
import ntpath
import posixpath
from functools import partial
from types import MappingProxyType

import pytest
from conftest import steep

from nas import Budget, UsageError, search
from nas.cli.commands.search import automatic_name
from nas.cli.selection import check_meaning
from nas.identity import identifying
from nas.provenance import config_snapshot
from nas.space.base import SearchSpace
from nas.store.base import Run, check_same_run
from nas.store.memory import MemoryStore
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.local_search import LocalSearch
from nas.strategies.random import RandomSearch
from nas.strategies.reinforce import Reinforce
from nas.studies.journal import journal
from nas.training.checkpoint import load_checkpoint, save_checkpoint

EARLIER_SETTINGS = {"trainer": {"lr": 0.1}, "budget": {"trials": 3}}
NEUTRAL_SETTINGS = {
    "trainer": {"lr": 0.1, "optimizer": "sgd", "mixup": 0},
    "budget": {"trials": 3, "trial_seconds": None},
}
CHANGED_SETTINGS = {"trainer": {"lr": 0.1, "optimizer": "adamw"}, "budget": {"trials": 3}}


def test_neutral_values_of_added_settings_do_not_identify():
    assert identifying(NEUTRAL_SETTINGS) == EARLIER_SETTINGS
    assert identifying({"evaluator": NEUTRAL_SETTINGS}) == {"evaluator": EARLIER_SETTINGS}
    assert identifying(NEUTRAL_SETTINGS["trainer"], "trainer") == EARLIER_SETTINGS["trainer"]
    assert identifying(CHANGED_SETTINGS) == CHANGED_SETTINGS
    assert identifying({"mixup": 0.0, "network": {"optimizer": "sgd"}}) == {
        "mixup": 0.0,
        "network": {"optimizer": "sgd"},
    }


@pytest.mark.parametrize(
    ("stored", "wanted"), [(EARLIER_SETTINGS, NEUTRAL_SETTINGS), (NEUTRAL_SETTINGS, EARLIER_SETTINGS)]
)
def test_a_run_resumes_across_versions(stored, wanted):
    check_same_run(Run("one", 0, stored), Run("one", 0, wanted))
    with pytest.raises(UsageError, match=r"trainer.optimizer=(unset|sgd) \(now adamw\)"):
        check_same_run(Run("one", 0, stored), Run("one", 0, CHANGED_SETTINGS))


@pytest.mark.parametrize(
    ("stored", "wanted"), [(EARLIER_SETTINGS, NEUTRAL_SETTINGS), (NEUTRAL_SETTINGS, EARLIER_SETTINGS)]
)
def test_a_search_resumes_across_versions(toy_space, stored, wanted):
    store = MemoryStore()
    search(toy_space, RandomSearch, steep, budget=Budget(trials=2), store=store, config=stored)
    again = search(toy_space, RandomSearch, steep, budget=Budget(trials=3), store=store, config=wanted)
    assert again.resumed == 2


@pytest.mark.parametrize(
    ("stored", "wanted"), [(EARLIER_SETTINGS, NEUTRAL_SETTINGS), (NEUTRAL_SETTINGS, EARLIER_SETTINGS)]
)
def test_journals_and_checkpoints_resume_across_versions(tmp_path, stored, wanted):
    for identity in (stored, wanted):
        with journal(tmp_path / "runs.journal", identity, {}, ()) as opened:
            assert opened.lines == []
    assert json.loads((tmp_path / "runs.journal").read_text()) == stored
    with (
        pytest.raises(UsageError, match=r"trainer.optimizer=.* \(now adamw\)"),
        journal(tmp_path / "runs.journal", CHANGED_SETTINGS, {}, ()),
    ):
        pass
    save_checkpoint(tmp_path / "state.pt", stored, {"epoch": 3})
    assert load_checkpoint(tmp_path / "state.pt", wanted)["epoch"] == 3


def test_an_automatic_name_ignores_neutral_values():
    choices = {"space": "s", "strategy": "t", "data": "d"}
    assert automatic_name({**EARLIER_SETTINGS, "choices": choices}) == automatic_name(
        {**NEUTRAL_SETTINGS, "choices": choices}
    )
    assert automatic_name({**EARLIER_SETTINGS, "choices": choices}) != automatic_name(
        {**CHANGED_SETTINGS, "choices": choices}
    )


class Mine(SearchSpace):
    choices = MappingProxyType({"op": ("a", "b", "c"), "act": ("x", "y")})

    def build(self, architecture, task, network=None):
        raise NotImplementedError


EDITS = [
    ({"op": ("b", "a", "c"), "act": ("x", "y")}, r"choices\['op'\]=\('a', 'b', 'c'\) \(now \('b', 'a', 'c'\)\)"),
    ({"op": ("a", "b", "c", "d"), "act": ("x", "y")}, r"choices\['op'\]=.* \(now \('a', 'b', 'c', 'd'\)\)"),
    ({"op": ("a", "b"), "act": ("x", "y")}, r"choices\['op'\]=\('a', 'b', 'c'\) \(now \('a', 'b'\)\)"),
    ({"op": ("a", "b", "z"), "act": ("x", "y")}, r"choices\['op'\]=.* \(now \('a', 'b', 'z'\)\)"),
    ({"op": ("a", "b", "c")}, r"choices\['act'\]=\('x', 'y'\) \(now unset\)"),
    ({"op": ("a", "b", "c"), "act": ("x", "y"), "n": ("1",)}, r"choices\['n'\]=unset \(now \('1',\)\)"),
    ({"op": ("a", "b", "c"), "action": ("x", "y")}, r"choices\['act'\]=.* \(now unset\); with choices\['action'\]="),
    ({"act": ("x", "y"), "op": ("a", "b", "c")}, r"choices in the order op, act \(now act, op\)"),
]


@pytest.mark.parametrize(("edited", "message"), EDITS)
@pytest.mark.parametrize("strategy", [RandomSearch, RegularizedEvolution, Reinforce, LocalSearch])
def test_a_run_whose_choices_were_edited_is_refused_with_the_decision(monkeypatch, strategy, edited, message):
    store = MemoryStore()
    search(Mine(), strategy, steep, budget=Budget(trials=5), store=store)
    assert search(Mine(), strategy, steep, budget=Budget(trials=6), store=store).resumed == 5
    monkeypatch.setattr(Mine, "choices", edited)
    with pytest.raises(UsageError, match=rf"run 'search' was started with {message}.*Choose another run="):
        search(Mine(), strategy, steep, budget=Budget(trials=8), store=store)
    assert len(store.trials("search")) == 6


@pytest.mark.parametrize(("edited", "message"), EDITS[:2])
def test_journals_and_checkpoints_of_edited_choices_are_refused(tmp_path, edited, message):
    old = {"decisions": [[name, list(options)] for name, options in Mine.choices.items()]}
    new = {"decisions": [[name, list(options)] for name, options in edited.items()]}
    for identity in (old, old):
        with journal(tmp_path / "new.journal", identity, {}, ()):
            pass
    with pytest.raises(UsageError, match=f"started with {message}"), journal(tmp_path / "new.journal", new, {}, ()):
        pass
    for identity in ({}, new):  # version 0.1.0 stored no decisions
        with journal(tmp_path / "old.journal", identity, {}, ()):
            pass
    save_checkpoint(tmp_path / "new.pt", old, {})
    with pytest.raises(UsageError, match="belongs to another training"):
        load_checkpoint(tmp_path / "new.pt", new)
    save_checkpoint(tmp_path / "old.pt", {}, {})
    assert load_checkpoint(tmp_path / "old.pt", new) is not None


def test_a_trial_whose_text_has_changed_its_meaning_is_not_retrained(monkeypatch):
    monkeypatch.setattr(Mine, "to_text", lambda self, architecture: "-".join(map(str, architecture)))
    monkeypatch.setattr(Mine, "from_text", lambda self, text: tuple(map(int, text.split("-"))))
    store = MemoryStore()
    trial = search(Mine(), RandomSearch, steep, budget=Budget(trials=1), store=store).trials[0]
    space, run = Mine(), store.runs()[0]
    check_meaning(space, space.from_text(trial.text), run, trial)
    monkeypatch.setattr(Mine, "choices", {"op": ("a", "b", "c"), "act": ("y", "x")})
    with pytest.raises(
        UsageError, match=r"trial 0 of run 'search' is '\d-\d', which was act=. when it was found and is"
    ):
        check_meaning(Mine(), space.from_text(trial.text), run, trial)


def test_paths_of_classes_are_not_part_of_an_identity():
    before = {
        "space": {"_target_": "my_space.MySpace", "width": 3},
        "evaluator": {"type": "nas.old.Evaluator", "trainer": {"type": "nas.old.Recipe"}},
        "parts": [{"_target_": "a.A", "lr": 1}],
        "version": {"type": "v1.0"},
    }
    after = {
        "space": {"_target_": "spaces.mine.Renamed", "width": 3},
        "evaluator": {"type": "nas.new.Evaluator", "trainer": {"type": "Recipe"}},
        "parts": [{"_target_": "b.B", "lr": 1}],
        "version": {"type": "v1.0"},
    }
    assert identifying(before) == identifying(after)
    assert identifying({"type": "v1.0"}) != identifying({"type": "v2.0"})
    assert identifying({"type": "nas.A"}) != identifying({"type": "nas.B"})
    check_same_run(Run("one", 0, before), Run("one", 0, after))


def test_a_setting_that_a_user_calls_type_is_part_of_an_identity():
    old, new = ({"strategy": {"_target_": "mine.S", "model": {"type": f"{path}.Net"}}} for path in ("resnet", "vgg"))
    with pytest.raises(UsageError, match=r"strategy.model.type=resnet.Net \(now vgg.Net\)"):
        check_same_run(Run("one", 0, old), Run("one", 0, new))


def test_a_function_with_its_arguments_is_known_by_its_path():
    old, new = ({"evaluator": config_snapshot(partial(module.join, "x"))} for module in (posixpath, ntpath))
    with pytest.raises(UsageError, match=r"evaluator.type=posixpath.join \(now ntpath.join\)"):
        check_same_run(Run("one", 0, old), Run("one", 0, new))


def test_a_name_made_from_class_paths_is_used_if_the_store_has_it():
    choices = {"choices": {"space": "s", "strategy": "t", "data": "d"}}
    config, moved = ({"space": {"_target_": path}, **choices} for path in ("a.Space", "b.Space"))
    name = automatic_name(config)
    assert automatic_name(moved) == name
    assert automatic_name(config, {"s-t-d-ec5efe", "other"}) == "s-t-d-ec5efe" != name
    assert automatic_name(moved, {"s-t-d-ec5efe", "other"}) == name
