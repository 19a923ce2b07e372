"""The promises of a space with a supernet, and of a strategy that searches on one."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from nas.core import Objective, Task
from nas.strategies.base import StrategyFactory
from nas.supernets.base import GradientStrategy, SupernetSpace
from nas.testing.promises import Promise
from nas.training.memory_format import to_channels_last

ROUNDING = 1e-9
"""Largest relative difference of logits in double precision."""


def supernet_promises(space: SupernetSpace, task: Task, network: Mapping[str, Any], samples: int = 6) -> list[Promise]:
    """The supernet at the probabilities of an architecture is the network of that architecture with the same weights.

    Args:
        network: Sizes to build with.
        samples: Number of architectures drawn, besides those with the same option everywhere.
    """

    def has_a_supernet() -> None:
        assert isinstance(space, SupernetSpace), f"{type(space).__name__} has no supernet"

    def architectures() -> list[tuple[int, ...]]:
        rng = np.random.default_rng(0)
        alike = [tuple(min(value, size - 1) for size in space.sizes) for value in range(max(space.sizes))]
        extremes = map(space.reduced, alike)
        return [a for a in [*(space.sample(rng) for _ in range(samples)), *extremes] if space.is_valid(a)]

    def derive_inverts_relax() -> None:
        for architecture in architectures():
            probs = space.relax(architecture)
            shapes = {name: tuple(rows.shape) for name, rows in probs.items()}
            assert shapes == dict(space.alpha_shapes), (
                f"relax gave {shapes}, expected the shapes {dict(space.alpha_shapes)}"
            )
            assert space.derive(probs) == architecture, f"derive is not the inverse of relax at {architecture}"

    def computes_its_architectures() -> None:
        torch.manual_seed(0)
        supernet = space.supernet(task, network).double()
        weights = supernet.state_dict()
        images = torch.randn(6, task.channels, task.height, task.width, dtype=torch.float64)
        drawn = architectures()
        # what differs between memory formats does so for an architecture of mixed operations
        for memory, compared in ((torch.channels_last, drawn), (torch.contiguous_format, drawn[:samples])):
            if memory is torch.channels_last:
                to_channels_last(supernet, torch.device("cpu"))
            else:
                supernet.to(memory_format=memory)
            for architecture in compared:
                probs = {name: rows.double() for name, rows in space.relax(architecture).items()}
                own = space.build(architecture, task, network, operations="search")
                own.double().load_state_dict({name: weights[name] for name in own.state_dict()})
                expected = own(images.contiguous(memory_format=memory))
                for run_all_operations in (False, True):
                    logits = supernet(
                        images.contiguous(memory_format=memory), probs, run_all_operations=run_all_operations
                    )
                    error = (logits - expected).abs().max() / expected.abs().max()
                    assert error < ROUNDING, f"the supernet differs from {space.to_text(architecture)} by {error:.1e}"

    own = type(space)
    return [
        Promise("the space has a supernet", has_a_supernet, own, needed=True),
        Promise("derive is the inverse of relax", derive_inverts_relax, getattr(own, "derive", own)),
        Promise("the supernet computes each architecture", computes_its_architectures, getattr(own, "supernet", own)),
    ]


def gradient_promises(
    make: StrategyFactory, space: SupernetSpace, task: Task, network: Mapping[str, Any], source: object = None
) -> list[Promise]:
    """A gradient strategy repeats for equal random numbers, changes only its alphas, and saves its whole state.

    Args:
        network: Sizes of the supernet.
        source: Class whose lines are named; None: that of the factory.
    """
    images, labels = torch.randn(4, task.channels, task.height, task.width), torch.arange(4) % task.classes

    def initialised() -> GradientStrategy:
        strategy = make(space=space, objective=Objective())
        assert isinstance(strategy, GradientStrategy), f"{type(strategy).__name__} lacks a part of GradientStrategy"
        strategy.init(np.random.default_rng(0), torch.device("cpu"))
        return strategy

    def stepped() -> tuple[GradientStrategy, dict[str, Any], dict[str, Any]]:
        """A strategy after one step, with the supernet's weights before and after."""
        strategy = initialised()
        torch.manual_seed(0)
        supernet = space.supernet(task, network, partial_channels=strategy.partial_channels)
        optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
        before = copy.deepcopy(supernet.state_dict())
        for epoch in range(1, strategy.epochs + 1):
            strategy.start_epoch(epoch)
        rng = torch.Generator().manual_seed(1)
        loss = strategy.alpha_step(supernet, (images, labels), (images, labels), optimizer, rng)
        assert loss is not None, "alpha_step gave None in the last epoch: no step of alpha was made"
        assert math.isfinite(loss.item()), f"alpha_step gave a loss of {loss.item()}"
        return strategy, before, supernet.state_dict()

    first = cache(stepped)

    def is_complete() -> None:
        initialised()

    def moves_alpha() -> None:
        strategy, fresh = first()[0], initialised()
        moved = any(not torch.equal(a, b) for a, b in zip(strategy.alphas(), fresh.alphas(), strict=True))
        assert moved, "alpha_step left every alpha unchanged"

    def repeats() -> None:
        for a, b in zip(first()[0].alphas(), stepped()[0].alphas(), strict=True):
            assert torch.equal(a, b), "two searches with the same random numbers differ"

    def leaves_the_weights() -> None:
        _, before, after = first()
        for name, value in after.items():
            assert torch.equal(value, before[name]), f"alpha_step changed the weight {name}"

    def state_is_whole() -> None:
        strategy, restored = first()[0], initialised()
        restored.load_state_dict(strategy.state_dict())
        for name, rows in strategy.expected().items():
            assert torch.equal(rows, restored.expected()[name]), f"state_dict does not hold all of {name}"

    def gives_an_architecture() -> None:
        probs = first()[0].expected()
        for name, rows in probs.items():
            assert (rows >= 0).all(), f"a probability of {name} is negative"
        space.validate(space.derive(probs))

    source = source or getattr(make, "func", make)
    step = getattr(source, "alpha_step", source)
    return [
        Promise("the strategy has everything that a gradient search needs", is_complete, source, needed=True),
        Promise("alpha_step moves alpha", moves_alpha, step, needed=True),
        Promise("alpha_step repeats for the same random numbers", repeats, step),
        Promise("alpha_step leaves the supernet's weights unchanged", leaves_the_weights, step),
        Promise("state_dict holds the whole state", state_is_whole, getattr(source, "state_dict", source)),
        Promise(
            "expected() gives the probabilities of an architecture",
            gives_an_architecture,
            getattr(source, "expected", source),
        ),
    ]
