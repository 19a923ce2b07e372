"""An LSTM that writes architectures, trained by REINFORCE.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, https://arxiv.org/abs/1611.01578,
sections 3.1 and 3.2.

Differs from the paper: one controller that learns from one architecture at a time instead of 20 parameter servers with
100 replicas and batches of 8; one layer of 100 units instead of two of 35; the decisions of the space instead of a
growing number of layers, so neither skip-connection attention nor a stop; the reward is the objective instead of the
cubed accuracy; an entropy bonus may be set. A failed trial counts as the worst reward seen so far. In a constrained
space invalid draws are rejected, and the gradient is that of the distribution before rejection. Decisions that do not
matter are read as their first option, and are no part of the probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from nas.core import Architecture, Objective, Proposal, Trial
from nas.space.base import SearchSpace
from nas.strategies.rewards import Rewards
from nas.validation import number_in, whole_number

MAX_REJECTIONS = 100
"""Invalid draws in a row after which a uniform architecture is proposed instead."""
START_RANGE = 0.08
"""Weights start uniform in -0.08 to 0.08 (section 4.1)."""


@dataclass
class LSTMController:
    """Choose the options one after the other, each given those before it.

    The gradient is computed at the current weights: exact while one trial is in flight; with several in flight, a trial
    was drawn from slightly older ones, which is not corrected for.

    Args:
        hidden: Units of the LSTM, and size of the embedding of the previous choice, 1 or more.
        lr: Adam's step size, above 0, at most 1 (paper: 0.0006, over 12,800 architectures).
        baseline_momentum: Weight of the past in the moving average of the previous rewards, 0 to 0.999 (the paper
            gives none). The first advantage is 0.
        entropy_weight: Weight of the entropies (nats, summed) of the decisions of an architecture, from 0 (paper: 0).
    """

    space: SearchSpace
    objective: Objective
    hidden: int = 100
    lr: float = 0.0006
    baseline_momentum: float = 0.9
    entropy_weight: float = 0.0
    weights: dict[str, Tensor] = field(init=False, repr=False)
    rewards: Rewards = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whole_number("strategy.hidden", self.hidden)
        number_in("strategy.lr", self.lr, 0.0, 1.0, above=True)
        number_in("strategy.baseline_momentum", self.baseline_momentum, 0.0, 0.999)
        number_in("strategy.entropy_weight", self.entropy_weight, 0.0, math.inf)

    def reset(self, rng: Generator) -> None:
        options, hidden = sum(self.space.sizes), self.hidden
        shapes = {
            "embedding": (1 + options, hidden),  # row 0 starts the sequence
            "gates": (4 * hidden, 2 * hidden),  # input, forget and output gate, then the new cell, of (input, state)
            "gates_bias": (4 * hidden,),
            "heads": (options, hidden),  # one softmax layer a decision, one below the other
            "heads_bias": (options,),
        }
        self.weights = {
            name: torch.tensor(rng.uniform(-START_RANGE, START_RANGE, shape), dtype=torch.float32, requires_grad=True)
            for name, shape in shapes.items()
        }
        self.rewards = Rewards(self.baseline_momentum)
        self._adam = torch.optim.Adam(self.weights.values(), lr=self.lr)
        self._starts = tuple(accumulate(self.space.sizes, initial=0))

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal:
        for _ in range(MAX_REJECTIONS):
            with _one_thread(), torch.no_grad():
                architecture, _ = self.walk(partial(_draw, rng.random(len(self.space.sizes))))
            if self.space.is_valid(architecture):
                return Proposal(architecture)
        return Proposal(self.space.sample(rng))

    def tell(self, trial: Trial) -> None:
        reward = self.rewards.of(trial, self.objective)
        if reward is None:
            return
        advantage = 0.0 if math.isnan(self.rewards.mean) else reward - self.rewards.mean
        self.rewards.add(reward)
        with _one_thread(), torch.enable_grad():
            log_probability, entropy = self.evaluate(trial.proposal.architecture)
            self._adam.zero_grad()
            torch.autograd.backward(-(advantage * log_probability + self.entropy_weight * entropy))
            self._adam.step()

    def evaluate(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        """Log-probability of an architecture, and the summed entropies of the softmaxes on its way (nats; scalars)."""
        architecture = self.space.reduced(architecture)
        logs = torch.cat(self.walk(lambda position, _: architecture[position])[1])
        active = [name in self.space.active(architecture) for name in self.space.choices]
        places = np.add(self._starts[:-1], architecture)[active]
        logs, chosen = logs[np.repeat(active, self.space.sizes)], logs[places.tolist()]
        return chosen.sum(), -(logs.exp() * logs).sum()

    def walk(self, pick: Callable[[int, Tensor], int]) -> tuple[Architecture, list[Tensor]]:
        """The choices that `pick` makes, and the log-probabilities (options,) that it receives at each decision."""
        w, hidden = self.weights, self.hidden
        token, state, cell = 0, torch.zeros(hidden), torch.zeros(hidden)
        heads, biases = (w[name].split_with_sizes(self.space.sizes) for name in ("heads", "heads_bias"))
        chosen: list[int] = []
        logs: list[Tensor] = []
        for position, (head, bias) in enumerate(zip(heads, biases, strict=True)):
            both = torch.cat((w["embedding"][token], state))
            gates, new = torch.addmv(w["gates_bias"], w["gates"], both).split_with_sizes((3 * hidden, hidden))
            enter, retain, leave = gates.sigmoid().chunk(3)
            cell = retain * cell + enter * new.tanh()
            state = leave * cell.tanh()
            logs.append(torch.addmv(bias, head, state).log_softmax(0))
            chosen.append(pick(position, logs[-1]))
            chosen = list(self.space.reduced((*chosen, *(0,) * (len(heads) - len(chosen)))))[: position + 1]
            token = 1 + self._starts[position] + chosen[-1]
        return tuple(chosen), logs


def _draw(uniform: NDArray[np.float64], position: int, logs: Tensor) -> int:
    """The option at the uniform number of a decision, by the inverse distribution function."""
    cumulative = np.exp(logs.numpy().astype(np.float64)).cumsum()
    return int(cumulative.searchsorted(uniform[position] * cumulative[-1], side="right"))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The vectors are too short for several threads, and sums must not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
