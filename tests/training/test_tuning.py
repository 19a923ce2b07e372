"""The recipe that follows from settings which an architecture decides."""

import pytest
from conftest import ToySpace

from nas.errors import UsageError
from nas.space import Categorical, Float, Integer, Ordinal
from nas.space.tuned import TunedSpace
from nas.training.recipe import Recipe
from nas.training.tuning import check_tuned, retraining_recipe, tuned_protocol, tuned_recipe

PLAIN = "d0=a;d1=a;d2=a;d3=a;d4=a;d5=a"


def tuned(**tune):
    return TunedSpace(ToySpace(), {name.replace("__", "."): kind for name, kind in tune.items()})


def recipe_of(space, settings, recipe):
    return tuned_recipe(space, space.from_text(f"{PLAIN} @ {settings}"), recipe)


def test_settings_replace_those_of_the_recipe():
    space = tuned(lr=Float(0.01, 0.1, steps=2), weight_decay=Float(0.0, 0.1, steps=2))
    assert recipe_of(space, "lr=0.01;weight_decay=0.1", Recipe(epochs=2, momentum=0.5)) == Recipe(
        epochs=2, momentum=0.5, lr=0.01, weight_decay=0.1
    )


def test_a_space_without_tuned_settings_leaves_the_recipe_alone():
    recipe = Recipe(epochs=2)
    assert tuned_recipe(ToySpace(), (0,) * 6, recipe) is recipe


def test_adamw_leaves_the_momentum_of_sgd_behind():
    space = tuned(optimizer=Categorical(("sgd", "adamw")))
    recipe = Recipe(epochs=2, momentum=0.5)
    assert recipe_of(space, "optimizer=adamw", recipe).momentum == 0.9
    assert recipe_of(space, "optimizer=sgd", recipe).momentum == 0.5


def test_a_retraining_keeps_its_own_length_and_scales_what_is_counted_in_epochs():
    space = tuned(epochs=Ordinal((3, 6)), warmup_epochs=Integer(0, 2), lr=Float(0.1, 0.2, steps=2))
    architecture = space.from_text(f"{PLAIN} @ epochs=6;warmup_epochs=1;lr=0.2")
    recipe = retraining_recipe(space, architecture, Recipe(epochs=60), searched=3)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.lr) == (60, 10, 0.2)


def test_a_setting_that_the_user_gives_to_a_retraining_wins():
    space = tuned(lr=Float(0.1, 0.2, steps=2))
    architecture = space.from_text(f"{PLAIN} @ lr=0.2")
    assert retraining_recipe(space, architecture, Recipe(epochs=2, lr=0.5), 1, given=["lr"]).lr == 0.5


def test_epochs_and_warm_up_are_checked_together():
    check_tuned(tuned(epochs=Ordinal((5, 10)), warmup_epochs=Ordinal((0, 2))), Recipe(epochs=1))


def test_an_unknown_length_of_the_search_scales_nothing():
    space = tuned(warmup_epochs=Ordinal((0, 3)))
    architecture = space.from_text(f"{PLAIN} @ warmup_epochs=3")
    assert retraining_recipe(space, architecture, Recipe(epochs=10), searched=None).warmup_epochs == 3
    assert retraining_recipe(space, architecture, Recipe(epochs=2), searched=None).warmup_epochs == 1


class Deciding(ToySpace):
    def trainer_settings(self, architecture):
        return {"lr": 0.5, "speed": 1} if architecture[0] else {"lr": 0.5}


def test_a_space_of_ones_own_may_decide_settings():
    assert tuned_recipe(Deciding(), (0,) * 6, Recipe(epochs=1)).lr == 0.5
    assert tuned_protocol(Deciding(), {"epochs": 1})["tuned"] == "Deciding"
    with pytest.raises(UsageError, match="trainer_settings gives 'speed', which is not a setting of the trainer"):
        tuned_recipe(Deciding(), (1,) * 6, Recipe(epochs=1))


def test_the_protocol_names_what_was_tuned_instead_of_a_value():
    space = tuned(lr=Float(0.1, 0.2, steps=3), network__channels=Ordinal((4, 8)))
    protocol = tuned_protocol(space, {"epochs": 2, "lr": 0.1, "network": {"channels": 8, "cells": 1}})
    assert protocol == {
        "epochs": 2,
        "network": {"cells": 1},
        "tuned": {"lr": "0.1 to 0.2, 3 steps", "network.channels": "4, 8"},
    }


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"lr": Float(-1.0, 1.0)}, r"tune\.lr: the option -1\.0 does not fit: trainer\.lr must be a number above 0"),
        ({"optimizer": Categorical(("sgd", "adma"))}, "the option adma does not fit: trainer.optimizer must be one of"),
        ({"valid_images": Ordinal((1, 2))}, "cannot be tuned: trials would be scored on different images"),
        ({"threads": Ordinal((1, 2))}, "cannot be tuned: it does not change what a training learns"),
        ({"network": Ordinal((1, 2))}, "it holds several sizes; tune one of them, such as tune.network.channels"),
        ({"network__depth": Ordinal((1, 2))}, "tune.network.depth: depth is not a size of ToySpace; it has none"),
        ({"speed": Ordinal((1, 2))}, "speed is not a setting of the trainer"),
    ],
)
def test_a_setting_that_cannot_be_tuned_is_refused_before_the_search(tune, message):
    with pytest.raises(UsageError, match=message):
        check_tuned(tuned(**tune), Recipe(epochs=3))
