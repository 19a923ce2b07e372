"""The checks as functions: each raises `AssertionError` with the first promise that is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas.core import Task
from nas.data.base import DataSet
from nas.evaluators.base import Evaluator
from nas.executors.base import Executor
from nas.space.base import SearchSpace
from nas.store.base import Store
from nas.strategies.base import StrategyFactory
from nas.supernets.base import SupernetSpace
from nas.testing.data import data_promises
from nas.testing.evaluators import evaluator_promises
from nas.testing.executors import executor_promises
from nas.testing.promises import hold
from nas.testing.spaces import SAMPLES, space_promises
from nas.testing.stores import store_promises
from nas.testing.strategies import TRIALS, strategy_promises
from nas.testing.supernets import gradient_promises, supernet_promises


def check_space(
    space: SearchSpace, task: Task, samples: int = SAMPLES, network: Mapping[str, Any] | None = None
) -> None:
    """A space draws and varies valid architectures, reads the text it writes, and its networks classify the task.

    Args:
        network: Sizes to build with; None: the space's own.
    """
    hold(space_promises(space, task, samples, network))


def check_supernet_space(space: SupernetSpace, task: Task, network: Mapping[str, Any], samples: int = 6) -> None:
    """The supernet at the probabilities of an architecture is the network of that architecture with the same weights.

    Args:
        network: Sizes to build with.
    """
    hold(supernet_promises(space, task, network, samples))


def check_gradient_strategy(
    make: StrategyFactory, space: SupernetSpace, task: Task, network: Mapping[str, Any]
) -> None:
    """A gradient strategy repeats for equal random numbers, changes only its alphas, and saves its whole state."""
    hold(gradient_promises(make, space, task, network))


def check_strategy(make: StrategyFactory, space: SearchSpace, trials: int = TRIALS) -> None:
    """`ask` is pure and valid, the trials it was given are its whole state, failed and pending trials are tolerated."""
    hold(strategy_promises(make, space, trials))


def check_evaluator(make: Callable[..., Evaluator], space: SearchSpace) -> None:
    """An evaluator gives the same finite metrics for the same seed, without test images, and its protocol is JSON."""
    hold(evaluator_promises(make, space))


def check_executor(executor: Executor) -> None:
    """An executor runs every task once, returns each result with its task, and raises what a task raised."""
    hold(executor_promises(executor))


def check_data(make: Callable[[], DataSet]) -> None:
    """A data set matches its task, is split the same way every time, and its test images are locked in a search."""
    hold(data_promises(make))


def check_store(make: Callable[[], Store]) -> None:
    """A store returns exactly what it was given, keeps runs apart, and lets one writer at a time write a run."""
    hold(store_promises(make))
