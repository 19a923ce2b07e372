"""A user's data set gives the same images at every reading, however it is written and wherever it is used."""

import pickle
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from own_images import BASE, LABELS, Mine, good, sentence

from nas import Budget, Task, search
from nas.data.base import DataSet
from nas.data.digits import Digits
from nas.data.lock import TestSetLocked, locked_test_set
from nas.evaluators.training import TrainingEvaluator
from nas.store.memory import MemoryStore
from nas.strategies.random import RandomSearch
from nas.studies.retraining import TrainingJob, retrain
from nas.testing import check_data
from nas.training.recipe import Recipe


@pytest.mark.parametrize("helper", ["_read", "_checked", "_of", "_origin", "_split_once", "_checked_test"])
def test_a_data_set_may_name_its_helpers_as_it_likes(helper):
    def part(self, name):
        return getattr(self, name)

    methods = {
        helper: part,
        "read_train": lambda self: getattr(self, helper)("train"),
        "read_test": lambda self: getattr(self, helper)("test"),
    }
    check_data(type("WithHelper", (Mine,), methods))


@pytest.mark.parametrize("draw", [
    lambda self: int(torch.randint(1 << 20, ())), lambda self: random.randrange(1 << 20),
    lambda self: int(np.random.randint(1 << 20)),
])  # fmt: skip
def test_images_drawn_at_random_are_refused_at_once(draw):
    def read(self):
        pixels = self.train.pixels.clone()
        pixels[0, 0, 0, :3] = torch.tensor([(draw(self) >> shift) % 256 for shift in (0, 8, 16)], dtype=torch.uint8)
        return replace(self.train, pixels=pixels)

    text = sentence(type("Drawn", (Mine,), {"read_train": read})().split)
    assert "Drawn.read_train returned different images than before; expected the same images in the same order" in text


def test_random_numbers_with_a_seed_are_the_data_sets_own_business():
    def read(self):
        torch.manual_seed(3)
        return replace(self.train, pixels=self.train.pixels[torch.randperm(40)], labels=LABELS)

    data = type("Seeded", (Mine,), {"read_train": read})()
    assert data.split().hash == data.split().hash


def test_images_that_change_later_are_refused_here_and_in_another_process():
    data = Mine()
    hash_before = data.split().hash
    sent = pickle.loads(pickle.dumps(data))
    assert sent.split().hash == hash_before
    for one in (data, sent):
        one.train = good(seed=7)
        assert "read_train returned different images than before" in sentence(one.split)
    data.train = replace(BASE, mean=(0.4, 0.5, 0.5))
    assert "read_train returned different images than before" in sentence(data.split)
    data.train, data.split_seed = BASE, 1
    assert data.split().hash != hash_before  # another split was asked for


def test_a_method_that_overrides_another_is_checked_once_and_at_the_end():
    class Pooled(Mine):
        task = Task(channels=3, height=2, width=2, classes=5)

        def read_train(self):
            return replace(super().read_train(), pixels=BASE.pixels[:, :, ::2, ::2])

        def read_test(self):
            return replace(super().read_test(), pixels=BASE.pixels[:, :, ::2, ::2])

    assert Pooled().read_test().pixels.shape == (40, 3, 2, 2)


def test_a_method_of_a_mixin_is_locked_and_checked():
    class Reads:
        def read_test(self):
            return replace(BASE, labels=LABELS + 1)

    class Mixed(Reads, Mine):
        pass

    assert "Mixed.read_test: labels are 1 to 5" in sentence(Mixed().read_test)
    with locked_test_set(), pytest.raises(TestSetLocked):
        Mixed().read_test()


def test_a_frozen_dataclass_can_be_a_data_set():
    @dataclass(frozen=True)
    class Frozen(DataSet):
        name = "frozen"
        task = Mine.task
        valid_fraction: float = 0.25
        split_seed: int = 0

        def read_train(self):
            return BASE

        def read_test(self):
            return BASE

    assert Frozen().split().hash == Mine().split().hash
    assert len(Frozen().read_test()) == 40


def test_the_conformance_check_is_the_same_check():
    check_data(Mine)
    damaged = replace(BASE, labels=LABELS + 1)
    assert "Mine.read_train: labels are 1 to 5" in sentence(lambda: check_data(lambda: Mine(damaged)))
    assert "Mine.read_test: labels are 1 to 5" in sentence(lambda: check_data(lambda: Mine(test=damaged)))
    seeds = iter(range(9))
    with pytest.raises(AssertionError, match=r"two splits differ: \w{16} and \w{16}; read_train must give the same"):
        check_data(lambda: Mine(good(seed=next(seeds))))


def test_retraining_tests_with_the_statistics_of_the_training_part(toy_space, tmp_path):
    """The images are those of `Digits`, and so is the result, however `read_test` computed its own."""

    class Own(Digits):
        def read_test(self):
            return replace(super().read_test(), mean=(0.1,), std=(0.9,))

    recipe = Recipe(epochs=2, batch_size=64)

    def result(data):
        folder = tmp_path / type(data).__name__
        job = TrainingJob(toy_space, "toy", (0,) * 6, data, recipe, device="cpu")
        return retrain(job, MemoryStore(), folder.joinpath)[0]

    results = result(Digits()), result(Own())
    assert results[0].metrics == results[1].metrics
    assert results[0].metrics["test_accuracy"] > 0.5
    # a result that version 0.1.0 stored for such data, normalised by their own statistics, is not taken for this one
    assert results[1].protocol == results[0].protocol | {"test_normalisation": "training"}


OWN = """
from dataclasses import replace
from nas.data.digits import Digits

class FromOne(Digits):
    def read_train(self):
        images = super().read_train()
        return replace(images, labels=images.labels + 1)
"""


def test_a_search_on_images_that_do_not_fit_ends_before_its_first_trial(nas, tmp_path):
    (tmp_path / "own_digits.py").write_text(OWN)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "own.yaml").write_text("_target_: own_digits.FromOne\n")
    done = nas("--config-dir", "conf", "search", "data=own", "strategy=random", "budget.trials=1")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1
    assert "own_digits.FromOne.read_train: labels are 1 to 10, but task.classes=10 needs 0 to 9" in done.stderr
    assert not list(tmp_path.glob("nas.db*"))


def test_a_run_is_not_continued_on_other_images(toy_space):
    class ReplacedImages(Mine):
        held = BASE

        def __init__(self):
            super().__init__()

        def read_train(self):
            return self.held

    store, recipe = MemoryStore(), Recipe(epochs=1, batch_size=16)

    def searched(trials):
        evaluator = TrainingEvaluator(toy_space, ReplacedImages(), recipe)
        return search(toy_space, RandomSearch, evaluator, budget=Budget(trials=trials), store=store, device="cpu")

    searched(1)
    ReplacedImages.held = good(seed=5)
    text = sentence(lambda: searched(2))
    assert text.startswith("run 'search' was started with protocol.split=")
    assert ": the images have changed, or read_train does not always return the same. Choose another run=" in text


def test_images_given_as_an_argument_do_not_fill_a_sentence(toy_space):
    """They are part of the stored settings of a run from Python."""
    store, recipe = MemoryStore(), Recipe(epochs=1, batch_size=16)

    def searched(data, trials):
        evaluator = TrainingEvaluator(toy_space, data, recipe)
        return search(toy_space, RandomSearch, evaluator, budget=Budget(trials=trials), store=store, device="cpu")

    searched(Mine(), 1)
    text = sentence(lambda: searched(Mine(good(seed=5)), 2))
    assert text.startswith("run 'search' was started with evaluator.data.train.pixels=tensor(")
    assert len(text) < 500
