"""What worker processes of the tests import; without torch they start in a fraction of the time."""

import multiprocessing
import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from nas.errors import UserError
from nas.space import Categorical, Float, Integer, Ordinal
from nas.space.base import SearchSpace


class LightSpace(SearchSpace):
    """Six decisions of four options, and nothing to train."""

    choices = MappingProxyType({f"d{i}": ("a", "b", "c", "d") for i in range(6)})

    def build(self, architecture, task, network=None):
        raise NotImplementedError


class SmallSpace(LightSpace):
    """Four decisions of four options: a table of it has 256 rows."""

    choices = MappingProxyType({f"d{i}": ("a", "b", "c", "d") for i in range(4)})


class MixedSpace(LightSpace):
    """Every kind of decision, conditions two levels deep, and a constraint: 1,920 architectures, 1,729 valid."""

    choices = MappingProxyType(
        {
            "op": Categorical(("none", "conv", "pool")),
            "kernel": Ordinal((3, 5, 7)),
            "width": Integer(8, 32, 8),
            "dilation": ("plain", "wide"),
            "units": Integer(16, 256, log=True, steps=5),
            "lr": Float(0.001, 0.1, log=True, steps=4),
            "drop": Float(0.0, 0.3, steps=4),
        }
    )
    conditions = MappingProxyType(
        {
            "kernel": {"op": ("conv", "pool")},
            "width": {"op": "conv"},
            "dilation": {"op": "conv", "kernel": (5, 7)},
        }
    )

    def is_valid(self, architecture):
        """The widest network takes no rate above 0.01, and the largest dropout needs more units than the fewest."""
        setting = self.settings(architecture)
        return not (setting.get("width") == 32 and setting["lr"] > 0.03) and not (
            setting["drop"] == 0.3 and setting["units"] == 16
        )


def mixed(proposal, context):
    """Best where all decisions that are on have their last option, and a convolution most of all."""
    time.sleep(0.002)
    return {"valid_accuracy": sum(proposal.architecture) / 20 + 0.1 * (proposal.architecture[0] == 1)}


def mixed_failing(proposal, context):
    """Pools fail."""
    if proposal.architecture[0] == 2:
        raise ValueError("no pools")
    return mixed(proposal, context)


def steep(proposal, context):
    """One optimum, (3, 3, 3, 3, 3, 3), and a slope towards it."""
    return {"valid_accuracy": sum(proposal.architecture) / 18}


def uneven(proposal, context):
    """Architectures of an even sum take longest, so that trials finish out of their order."""
    time.sleep(0.05 if sum(proposal.architecture) % 2 == 0 else 0.001)
    return steep(proposal, context)


def even(proposal, context):
    time.sleep(0.02)
    return steep(proposal, context)


def dying(proposal, context):
    if proposal.architecture[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return steep(proposal, context)


@dataclass
class Returning:
    """An evaluator that answers every proposal with the same value."""

    value: object

    def __call__(self, proposal, context):
        return self.value


@dataclass
class Counting:
    """Leaves a dot for every evaluation."""

    path: Path

    def __call__(self, proposal, context):
        with self.path.open("a") as file:
            file.write(".")
        return even(proposal, context)


def square(task):
    """A task of any kind."""
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "hang":
        time.sleep(600)
    if task == "leave":
        sys.exit(3)
    if task == "bug":
        raise ZeroDivisionError("by nothing")
    if task == "pid":
        time.sleep(0.2)
        return os.getpid()
    if task == "warn":
        warnings.warn("of two\nlines", stacklevel=1)
        return None
    if task == "threads":
        return os.environ["OMP_NUM_THREADS"]
    return task**2


def make():
    return square


def refusing():
    raise UserError("no images")


def odd(task):
    """A task whose result or error no process can send."""
    if task == "unpicklable":
        return lambda: None
    if task == "signal":
        os.kill(os.getpid(), 40)
    raise TwoArguments("one", "two")


class TwoArguments(UserError):
    """An error that pickle cannot make again."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def make_odd():
    return odd


class FrozenSpace(LightSpace):
    """Its choices belong to each object and are read-only."""

    def __init__(self):
        self.choices = MappingProxyType({f"d{i}": ("a", "b", "c", "d") for i in range(6)})


@dataclass
class Holding:
    """Holds what no process can send to another."""

    held: object

    def __call__(self, proposal, context):
        return steep(proposal, context)


def hanging(proposal, context):
    if proposal.architecture[0] == 3:
        time.sleep(600)
    return steep(proposal, context)


def leaving(proposal, context):
    raise SystemExit(0)


def nested(proposal, context):
    """As a `DataLoader` with a worker: a child that does part of the work."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.01,))
    child.start()
    child.join()
    return steep(proposal, context) | {"children": float(child.exitcode == 0)}


def parental(task):
    """Starts a child that would run for ten minutes; dies, or waits for it."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
    child.start()
    print(os.getpid(), child.pid, flush=True)
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    child.join()


def make_parental():
    return parental


class FewClasses(LightSpace):
    """Architectures of one first decision are one class: 4 classes."""

    def canonical(self, architecture):
        return f"class {architecture[0]}"


def by_class(proposal, context):
    time.sleep(0.05)
    return {"valid_accuracy": proposal.architecture[0] / 3 + context.seed / 1e12}


def failing_class(proposal, context):
    """Class 0 fails."""
    time.sleep(0.05)
    if proposal.architecture[0] == 0:
        raise ValueError("class zero")
    return by_class(proposal, context)


def killable(url):
    """A search of a second or so by two workers."""
    from nas.strategies.evolution import RegularizedEvolution

    return _stored(url, LightSpace(), partial(RegularizedEvolution, population_size=4, sample_size=2))


def killable_bayesian(url):
    """The same with a strategy that computes for long, on a space of all kinds of decision."""
    from nas.strategies.bayesian import BayesianOptimization

    return _stored(url, MixedSpace(), BayesianOptimization)


def _stored(url, space, strategy):
    from nas import Budget, search
    from nas.executors.processes import Processes
    from nas.store.sqlite import SQLiteStore

    budget, store = Budget(trials=40), SQLiteStore(url)
    return search(space, strategy, even, budget=budget, executor=Processes(2), run="one", store=store)
