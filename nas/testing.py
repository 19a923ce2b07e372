"""Conformance: what every space, strategy, evaluator, executor and data set must keep, as functions for any test.

    from nas.testing import check_space
    def test_mine(): check_space(MySpace(), Task(channels=3, height=32, width=32, classes=10))

Each raises AssertionError with a sentence that says what was not kept. The project's own parts are found by globbing
`configs/` and go through the same checks.
"""

from __future__ import annotations

import copy
import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from nas.core import (
    Architecture,
    Comparable,
    Context,
    DescribesArchitecture,
    Evaluator,
    Metrics,
    Objective,
    Preparable,
    Proposal,
    Strategy,
    StrategyFactory,
    Task,
    Trial,
    UserError,
)
from nas.data.dataset import DataSet
from nas.data.lock import TestSetLocked, locked_test_set
from nas.executors.base import Executor, each
from nas.randomness import TrialRandom
from nas.space import SearchSpace
from nas.supernet import GradientStrategy, Relaxable

SAMPLES = 20


def check_space(space: SearchSpace, task: Task, samples: int = SAMPLES) -> None:
    """A space samples, mutates and crosses validly, its text goes both ways, and its networks classify the task."""
    rng = np.random.default_rng(0)
    for number in range(samples):
        architecture = space.sample(rng)
        other = space.sample(rng)
        children = [space.mutate(architecture, rng), space.crossover(architecture, other, rng)]
        for arch in (architecture, *children, *list(space.neighbours(architecture))[:5]):
            _check_plain(arch)
            space.validate(arch)
        changed = sum(a != b for a, b in zip(architecture, children[0], strict=True))
        assert changed <= 1, f"mutate changed {changed} decisions of {architecture}, expected one"
        assert changed == 1 or not any(space.neighbours(architecture)), f"mutate left {architecture} as it was"
        for value, first, second in zip(children[1], architecture, other, strict=True):
            assert value in (first, second), f"crossover made option {value} up; the parents have {first} and {second}"
        text = space.to_text(architecture)
        assert "\n" not in text, f"to_text must be one line, got {text!r}"
        assert space.from_text(text) == architecture, f"from_text({text!r}) is not the architecture it was written from"
        assert space.canonical(architecture) == space.canonical(tuple(architecture)), "canonical is not a function"
        code = space.encode(architecture)
        assert code.shape == (sum(space.sizes),), f"encode gave shape {code.shape}"
        assert code.sum() == len(space.sizes), "encode must set one place per decision"
        if number < 3:
            _check_network(space, architecture, task)
    try:
        space.from_text("no architecture of any space")
    except UserError:
        return
    raise AssertionError("from_text accepted nonsense; it must raise UsageError")


def check_relaxable(space: SearchSpace, task: Task, network: Mapping[str, Any], samples: int = 6) -> None:
    """The supernet at the probabilities of an architecture is the network of that architecture with the same weights.

    Args:
        network: sizes to build with.
    """
    assert isinstance(space, Relaxable), f"{type(space).__name__} has no supernet"
    rng = np.random.default_rng(0)
    extremes = [tuple(min(value, size - 1) for size in space.sizes) for value in range(max(space.sizes))]
    torch.manual_seed(0)
    supernet = space.supernet(task, network).double()
    weights = supernet.state_dict()
    images = torch.randn(6, task.channels, task.height, task.width, dtype=torch.float64)
    for memory in (torch.channels_last, torch.contiguous_format):
        supernet.to(memory_format=memory)
        for architecture in [*(space.sample(rng) for _ in range(samples)), *extremes]:
            if not space.is_valid(architecture):
                continue
            probs = {name: rows.double() for name, rows in space.relax(architecture).items()}
            assert {name: tuple(rows.shape) for name, rows in probs.items()} == dict(space.alphas)
            assert space.derive(probs) == architecture, f"derive is not the inverse of relax at {architecture}"
            own = space.build(architecture, task, network, operations="search")  # type: ignore[call-arg]
            own.double().load_state_dict({name: weights[name] for name in own.state_dict()})
            expected = own(images.contiguous(memory_format=memory))
            for every in (False, True):
                found = supernet(images.contiguous(memory_format=memory), probs, every=every)
                error = (found - expected).abs().max() / expected.abs().max()
                assert error < 1e-9, f"the supernet differs from {space.to_text(architecture)} by {error:.1e}"


def check_gradient_strategy(make: StrategyFactory, space: SearchSpace, task: Task, network: Mapping[str, Any]) -> None:
    """A gradient strategy is a function of its random numbers, moves its alphas only where it says so, and its state is
    all there is of it."""
    cpu = torch.device("cpu")
    images, labels = torch.randn(4, task.channels, task.height, task.width), torch.arange(4) % task.classes

    def begun() -> GradientStrategy:
        strategy = make(space=space, objective=Objective())
        assert isinstance(strategy, GradientStrategy), f"{type(strategy).__name__} lacks a part of GradientStrategy"
        strategy.begin(np.random.default_rng(0), cpu)
        return strategy

    first, second = begun(), begun()
    assert isinstance(space, Relaxable)
    torch.manual_seed(0)
    supernet = space.supernet(task, network, **first.supernet_options)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
    weights = copy.deepcopy(supernet.state_dict())
    for strategy in (first, second):
        for epoch in range(1, strategy.epochs + 1):
            strategy.start_epoch(epoch)
        rng = torch.Generator().manual_seed(1)
        loss = strategy.alpha_step(supernet, (images, labels), (images, labels), optimizer, rng)
        assert loss is not None, "no step of alpha in the last epoch"
        assert math.isfinite(loss.item())
    for a, b in zip(first.alphas(), second.alphas(), strict=True):
        assert torch.equal(a, b), "two searches with equal random numbers differ"
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, weights[name]), f"alpha_step changed the weight {name}"
    before = begun()
    assert any(not torch.equal(a, b) for a, b in zip(first.alphas(), before.alphas(), strict=True)), "alpha rests"
    before.load_state_dict(first.state_dict())
    for name, rows in first.expected().items():
        assert torch.equal(rows, before.expected()[name]), "state_dict does not hold all of the state"
        assert (rows >= 0).all(), f"a probability of {name} is negative"
    space.validate(space.derive(first.expected()))


def _check_plain(architecture: Architecture) -> None:
    assert isinstance(architecture, tuple), f"an architecture must be a tuple, got {type(architecture).__name__}"
    for value in architecture:
        assert type(value) is int, f"an architecture must hold plain ints, got {type(value).__name__}"


def _check_network(space: SearchSpace, architecture: Architecture, task: Task) -> None:
    torch.manual_seed(0)
    network = space.build(architecture, task).train()
    images = torch.randn(4, task.channels, task.height, task.width)
    logits = network(images)
    assert logits.shape == (4, task.classes), f"build gave logits of shape {tuple(logits.shape)}, expected (4, classes)"
    logits.sum().backward()
    torch.manual_seed(0)
    again = space.build(architecture, task).train()(images)
    assert torch.equal(logits, again), "build must take its random numbers from torch's global generator alone"


def check_strategy(make: StrategyFactory, space: SearchSpace, trials: int = 60) -> None:
    """`ask` is pure and valid, the state is a fold over the told trials, failures and pending proposals are borne."""
    objective = Objective()
    strategy = _fresh(make, space, objective)
    random = TrialRandom(3)
    told: list[Trial] = []
    for number in range(trials):
        proposal = strategy.ask(random.trial(number), ())
        again = strategy.ask(random.trial(number), ())
        assert proposal == again, f"ask is not pure: trial {number} was proposed as {proposal}, then as {again}"
        if proposal is None:
            break
        space.validate(proposal.architecture)
        ahead = strategy.ask(random.trial(number + 1), (proposal,))
        if ahead is not None:
            space.validate(ahead.architecture)
        trial = _trial(space, number, proposal, failed=number % 7 == 3)
        strategy.tell(trial)
        told.append(trial)
    assert told, "the strategy proposed nothing"
    replayed = _fresh(make, space, objective)
    for trial in told:
        replayed.tell(trial)
    for number in (len(told), len(told) + 1):
        expected, found = strategy.ask(random.trial(number), ()), replayed.ask(random.trial(number), ())
        assert found == expected, f"replay proposes {found}, the strategy itself {expected}"
    frozen = copy.deepcopy(strategy)
    frozen.reset(random.start())
    first = _fresh(make, space, objective)
    assert frozen.ask(random.trial(0), ()) == first.ask(random.trial(0), ()), "reset leaves traces of earlier trials"
    survivor = _fresh(make, space, objective)
    for number in range(trials):
        proposal = survivor.ask(random.trial(number), ())
        if proposal is None:
            break
        survivor.tell(_trial(space, number, proposal, failed=True))  # a space where everything fails


def _fresh(make: StrategyFactory, space: SearchSpace, objective: Objective) -> Strategy:
    strategy = make(space=space, objective=objective)
    strategy.reset(TrialRandom(3).start())
    return strategy


def _trial(space: SearchSpace, number: int, proposal: Proposal, *, failed: bool) -> Trial:
    text = space.to_text(proposal.architecture)
    score = float(np.mean(proposal.architecture))
    if failed:
        return Trial(number, proposal, text, text, 0, "failed", {}, 0.0, error_kind="error", error="made to fail")
    return Trial(number, proposal, text, text, 0, "completed", {Objective().metric: score}, 0.0)


def check_evaluator(make: Callable[..., Evaluator], space: SearchSpace) -> None:
    """An evaluator gives the same finite metrics for the same seed, its protocol is JSON, and the lock holds in it."""
    evaluator = make(space=space)
    if isinstance(evaluator, Comparable):
        assert json.loads(json.dumps(evaluator.protocol())) == evaluator.protocol(), "protocol must be plain JSON"
    with locked_test_set():
        if isinstance(evaluator, Preparable):
            evaluator.prepare("cpu")
        proposal = Proposal(space.sample(np.random.default_rng(0)))
        seen: list[Metrics] = []
        context = Context(1, "cpu", seen.append, lambda _name, _value: None)
        first, again = evaluator(proposal, context), evaluator(proposal, context)
    assert first == again, f"one seed gave {first}, then {again}; what a clock measures belongs to context.measured"
    for name, value in first.items():
        assert isinstance(value, int | float), f"metric {name} is a {type(value).__name__}, expected a number"
        assert math.isfinite(value), f"metric {name} is {value}"
    if isinstance(evaluator, DescribesArchitecture):
        own = evaluator.architecture_metrics(proposal.architecture)
        assert own == {name: first[name] for name in own}, "architecture_metrics differ from those of the evaluation"


def check_executor(executor: Executor) -> None:
    """An executor does every task once, gives each its own result, and tells the caller what a task raised."""
    assert executor.workers >= 1
    assert executor.order in ("ordered", "async")
    tasks = deque(range(2 * executor.workers + 1))
    found = sorted(pair for batch in each(executor, _made, tasks) for pair in batch)
    expected = [(task, task + 1) for task in range(2 * executor.workers + 1)]
    assert found == expected, f"the tasks came back as {found}"
    told = ""
    try:
        list(each(executor, _made, deque([-1])))
    except UserError as error:
        told = str(error)
    assert told == "made to fail", "a task raised UserError, and the caller was not told"


def _made() -> Callable[[int], int]:
    return _task


def _task(number: int) -> int:
    if number < 0:
        raise UserError("made to fail")
    return number + 1


def check_data(make: Callable[[], DataSet]) -> None:
    """A data set returns what it states, splits the same every time, and keeps its test images locked in a search."""
    data = make()
    try:  # both check what was read
        split, again = data.split(), make().split()
        data.read_test()
    except UserError as error:
        raise AssertionError(str(error)) from None
    differ = f"two splits differ: {split.hash} and {again.hash}; read_train must give the same images at every call"
    assert split.hash == again.hash, differ
    with locked_test_set():
        try:
            data.read_test()
        except TestSetLocked:
            pass
        else:
            raise AssertionError("read_test could be called while a search held the lock")


__all__: Sequence[str] = (
    "check_data",
    "check_evaluator",
    "check_executor",
    "check_gradient_strategy",
    "check_relaxable",
    "check_space",
    "check_strategy",
)
