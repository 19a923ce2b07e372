"""What worker processes of the tests import; without torch they start in a fraction of the time."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from nas.space import SearchSpace


class LightSpace(SearchSpace):
    """Six decisions of four options, and nothing to train."""

    choices = MappingProxyType({f"d{i}": ("a", "b", "c", "d") for i in range(6)})

    def build(self, architecture, task, network=None):
        raise NotImplementedError


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
    if task == "bug":
        raise ZeroDivisionError("by nothing")
    if task == "pid":
        time.sleep(0.2)
        return os.getpid()
    if task == "threads":
        return os.environ["OMP_NUM_THREADS"]
    return task**2


def make():
    return square
