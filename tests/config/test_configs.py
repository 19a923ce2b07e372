"""The YAML files: every option composes, can be constructed, and says what it is for."""

import inspect
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module

import pytest
import yaml
from conftest import ROOT, ToySpace
from omegaconf import OmegaConf

from nas import UsageError
from nas.config.composition import group_options
from nas.config.settings import compose

OPTIONS = group_options()
SPACES = ", ".join(OPTIONS["space"])
ARGMAX = "nas.discretization.argmax.Argmax"
PARTS = [(group, option) for group, options in OPTIONS.items() for option in options if group != "experiment"]
TABLE = {"reported", "labels", "cost"}
TRAINER = {"network"}  # in Python the sizes of the space
PRESETS = {
    ("data", "cifar10_8x8"): {"pool"},
    ("supernet", "nasbench201"): {"nesterov", "weight_decay"},
    ("table", "cifar10_8x8"): {*TABLE, "rows"},
    ("table", "nasbench201"): {*TABLE, "architecture", "scale", "cost_scale"},
    ("trainer", "nasbench201"): TRAINER,
    ("trainer", "darts"): {*TRAINER, "batch_size", "lr", "nesterov", "weight_decay", "grad_clip", "cutout", "drop_path",
                           "auxiliary_weight"},
    ("trainer", "deit"): {*TRAINER, "lr", "lr_min", "optimizer", "warmup_epochs", "weight_decay", "label_smoothing",
                          "mixup", "cutmix"},
    ("trainer", "pictures"): {"batch_size", "lr", "network", "validate_every"},
    ("trainer", "proxy"): {*TRAINER, "batch_size", "train_images", "valid_images"},
    ("trainer", "tiny"): {*TRAINER, "lr", "crop", "flip", "train_images", "valid_images", "validate_every", "threads"},
}  # fmt: skip
"""Option -> settings that differ from the defaults of its class, which only one option of a class can have."""


@cache
def written(group, option):
    """The class of an option, and its settings with their values."""
    chosen = {
        "evaluator=table": ["table=nasbench201"],
        "table": ["evaluator=table"],
        "discretization": ["strategy=darts"],
        "supernet": ["strategy=darts"],
    }
    more = chosen.get(f"{group}={option}") or chosen.get(group) or []
    command = "sweep" if group == "launcher" else "search"
    node = compose(command, [f"{group}={option}", *more]).config[group]
    module, _, name = node["_target_"].rpartition(".")
    values = OmegaConf.to_container(node, resolve=True)
    return getattr(import_module(module), name), {k: v for k, v in values.items() if not k.startswith("_")}


@pytest.mark.parametrize(("group", "option"), PARTS)
def test_every_setting_is_an_argument_and_every_argument_with_a_default_a_setting(group, option):
    part, values = written(group, option)
    given = {"space", "objective"} if group in ("strategy", "evaluator") else set()
    assert set(values) == set(inspect.signature(part).parameters) - given


@pytest.mark.parametrize(("group", "option"), PARTS)
def test_the_value_of_a_setting_is_the_default_of_its_argument(group, option):
    part, values = written(group, option)
    factories = {field.name: field.default_factory for field in fields(part)} if is_dataclass(part) else {}
    defaults = {
        name: argument.default if factories.get(name, MISSING) is MISSING else factories[name]()
        for name, argument in inspect.signature(part).parameters.items()
        if argument.default is not inspect.Parameter.empty
    }
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    if "discretization" in defaults:  # None is the space's own rule, which the option `argmax` stands for
        assert (values.pop("discretization")["_target_"], defaults["discretization"]) == (ARGMAX, None)
    different = {name for name, value in values.items() if name in defaults and defaults[name] != value}
    # a table's settings state what the columns of its file are
    assert different == PRESETS.get((group, option), different if group == "table" else set())


@pytest.mark.parametrize("option", OPTIONS["experiment"])
def test_every_experiment_composes_and_yields_to_the_command_line(option):
    settings = compose("search", [f"experiment={option}"])
    assert settings.get("budget.trials") is not None
    own = compose("search", [f"experiment={option}", "strategy=local_search", "budget.trials=7"])
    assert own.node("strategy") == compose("search", ["strategy=local_search"]).node("strategy")
    assert own.get("budget.trials") == 7


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_begins_by_saying_what_it_is(path):
    text = path.read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text)


def test_the_benchmarks_recipe_is_the_published_one():
    recipe = compose("retrain", []).make("trainer")
    published = {"epochs": 200, "batch_size": 256, "lr": 0.1, "lr_min": 0.0, "momentum": 0.9, "nesterov": True}
    published |= {"weight_decay": 5e-4, "crop": 4 / 32, "flip": True, "cutout": 0.0}
    assert {key: getattr(recipe, key) for key in published} == published
    assert recipe.network == {"channels": 16, "cells": 5}


def test_the_benchmarks_recipe_of_supernets_is_the_published_one():
    """configs/nas-benchmark/algos/DARTS.config of AutoDL-Projects, and the code's default for the norm of gradients."""
    recipe = compose("search", ["strategy=darts", "supernet=nasbench201"]).make("supernet")
    published = {"epochs": 50, "batch_size": 64, "lr": 0.025, "lr_min": 0.001, "momentum": 0.9, "nesterov": True}
    published |= {"weight_decay": 5e-4, "grad_clip": 5.0}
    assert {key: getattr(recipe, key) for key in published} == published


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["supernet=darts"], "supernet=darts has no effect, since neither strategy nor evaluator trains one"),
        (["strategy=darts", "supernet=null"], "supernet=null: the other parts need one and chose supernet=darts"),
        (["experiment=spo"], "unknown experiment 'spo' (did you mean 'spos'?)"),
        (["strategy=regularised_evolution"], "unknown strategy 'regularised_evolution' (did you mean"),
        (["space=nasbench"], f"unknown space 'nasbench' (did you mean 'nasbench201'?); expected one of {SPACES}"),
        (["stratgy=random"], "unknown key 'stratgy' (did you mean 'strategy'?)"),
        (["buget.trials=3"], "unknown key 'buget.trials' (did you mean 'budget.trials'?)"),
        (["trials=3"], "unknown key 'trials' (did you mean 'budget.trials'?)"),
        (["trainer.learning_rate=1"], "unknown key 'trainer.learning_rate' (did you mean 'trainer.lr'?)"),
        (["objective=latency"], "objective must be a mapping, got 'latency'; it has objective.metric, objective."),
        (["trainer.epoch=3"], "unknown key 'trainer.epoch' (did you mean 'trainer.epochs'?)"),
        (["strategy.sample_sise=3"], "unknown key 'strategy.sample_sise' (did you mean 'strategy.sample_size'?)"),
        (
            ["strategy=random", "strategy.sample_size=3"],
            "strategy.sample_size belongs to strategy=regularized_evolution, but strategy=random is chosen; change one",
        ),
        (["executor.address=auto"], "executor.address belongs to executor=ray, but executor=inline is chosen; change"),
        (["supernet.epochs=3"], "supernet.epochs belongs to supernet="),
        (["experiment.seed=3"], "unknown key 'experiment.seed'"),
        (["seed=0..3"], "seed must be a whole number, got '0..3'; several values are written seed=0,1 or seed=range("),
        (["progress=true;false"], "progress must be true or false, got 'true;false'; several values are written progr"),
        (["seed=zero"], "seed must be a whole number, got 'zero'"),
        (["seed=1,2"], "seed=1,2 contains several values; expected one"),
        (["trainer.lr=fast"], "trainer.lr must be a number, got 'fast'"),
        (["trainer.flip=3"], "trainer.flip must be true or false, got 3"),
        (["trainer.network=8"], "trainer.network must be a mapping, got 8"),
        (["budget.trials"], "'budget.trials' is not key=value"),
        (["strategy"], "'strategy' is not key=value"),
        (["budget=null"], "budget must be a mapping, got null"),
        (["dir=null"], "dir must be text, got null"),
        (["~budget"], "'~budget' is not key=value"),
        (["~budget="], "~budget=: settings cannot be removed"),
        (["+foo.bar=1"], "unknown key 'foo.bar'"),
        (["+budget.foo=1"], "unknown key 'budget.foo'"),
        (["+strategy._target_=os.system"], "unknown key 'strategy._target_'"),
        (["space.channels=8"], "space.channels=8 has no effect, since the trainer sets trainer.network.channels=8"),
        (["run=???"], "run=??? is not a value"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_answered_with_the_closest_right_one(arguments, message):
    with pytest.raises(UsageError) as error:
        compose("search", arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_values_of_hydras_grammar_and_beyond_it():
    settings = compose(
        "search",
        ["run=a,b 'c' |x~0|+|y~1|", "trainer.network={channels: 4}", "+strategy.extra=[1,2]", "seed=7", "run=last"],
    )
    assert settings.get("run") == "last"
    assert settings.get("trainer.network") == {"channels": 4}
    assert settings.get("strategy.extra") == [1, 2]
    for raw, value in (
        ("007", "007"),
        ("null", None),
        ("${seed}", "${seed}"),
        ("a${", "a${"),
        ("'quoted'", "quoted"),
        ('"q"', "q"),
        ("a=b", "a=b"),
        ("", ""),
    ):
        assert compose("search", [f"run={raw}"]).get("run") == value


def test_a_setting_that_no_argument_accepts_is_named():
    settings = compose("search", ["+strategy.extra=1"])
    with pytest.raises(
        UsageError, match=r"strategy=regularized_evolution .*: strategy.extra is not a setting of R"
    ) as error:
        settings.make("strategy", space=None, objective=None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "earlier",
    [
        {"_target_": "os.system"},
        {"channels": {"_target_": "pathlib.Path", "_args_": ["pwned"]}},
        {"channels": [{"_target_": "os.getcwd"}]},
    ],
)
def test_what_a_file_or_a_store_names_is_never_run(earlier):
    with pytest.raises(UsageError, match=r"contains the key '_target_', which is not a setting; it was not used"):
        compose("describe", [], None, {"space": ("nasbench201", earlier)})
    for text in ("${oc.env:HOME}", ["${space}"]):
        with pytest.raises(UsageError, match=r"contains '\$\{.*\}', and interpolation is not allowed; it was not used"):
            compose("describe", [], None, {"space": ("nasbench201", {"channels": text})})


class Sized(ToySpace):
    def __init__(self, dropout):
        self.dropout = dropout


def test_a_mistake_in_a_users_yaml_is_named(tmp_path):
    folder = tmp_path / "conf" / "space"
    folder.mkdir(parents=True)
    for content, message in (
        ("a: [1", "cannot be composed"),
        ("channels: 3", "space=mine has no class; its YAML needs _target_"),
        ("_target_: conftest.ToySpac", r"space._target_=conftest.ToySpac cannot be found: module conftest has no class "
                                       r"ToySpac \(did you mean 'ToySpace'\?\)"),
        ("_target_: nowhere.Space", r"space._target_=nowhere.Space cannot be found: there is no module nowhere"),
        ("_target_: test_configs.Sized\ndropot: 0.1",
         r"space.dropot is not a setting of Sized \(did you mean space.dropout\?\); leave it out"),
        ("_target_: test_configs.Sized", r"Sized needs space.dropout; add it to the YAML"),
        ("_target_: conftest.Raising", r"space=mine cannot be constructed: KeyError: 'no' \(conftest.py:"),
    ):  # fmt: skip
        (folder / "mine.yaml").write_text(content)
        with pytest.raises(UsageError, match=message) as error:
            compose("search", ["space=mine"], tmp_path / "conf").make("space")
        assert "\n" not in str(error.value)
    (folder / "nasbench201.yaml").write_text("_target_: conftest.ToySpace")
    with pytest.raises(UsageError, match=r"nasbench201.yaml has the name of an installed option of space"):
        compose("search", [], tmp_path / "conf")


def test_inherited_parts_hold_unless_the_arguments_name_another():
    inherited = {"space": ("nasbench201", {"channels": 8, "gone": 1}), "data": ("cifar10", {"valid_fraction": 0.25})}
    settings = compose("retrain", ["space.cells=2", "trainer.network={}"], None, inherited)
    assert (settings.get("space.channels"), settings.get("space.cells")) == (8, 2)
    assert (settings.choices["data"], settings.get("data.valid_fraction")) == ("cifar10", 0.25)
    settings = compose("retrain", ["data=digits"], None, inherited)
    assert (settings.choices["data"], settings.get("data.valid_fraction")) == ("digits", 0.25)
    assert settings.get("space.channels") == 8


def test_a_mapping_of_the_command_changes_only_what_it_names():
    assert compose("search", ["budget={hours: 1}"]).get("budget") == compose("search", ["budget.hours=1"]).get("budget")
    settings = compose("search", ["objective={direction: minimize}", "budget={trials: 3, failures: null}"])
    assert settings.get("objective") == {"metric": "valid_accuracy", "direction": "minimize"}
    assert (settings.get("budget.trials"), settings.get("budget.failures")) == (3, None)
    with pytest.raises(UsageError, match=r"unknown key 'budget.hour' \(did you mean 'budget.hours'\?\)"):
        compose("search", ["budget={hour: 1}"])
    with pytest.raises(UsageError, match=r"budget.failures must be a whole number, got 'many'"):
        compose("search", ["budget={failures: many}"])
