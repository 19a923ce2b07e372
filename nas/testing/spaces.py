"""The promises of a search space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.core import Architecture, Task
from nas.data.images import Images
from nas.errors import UserError
from nas.space.base import SearchSpace
from nas.testing.promises import Promise
from nas.training.architecture import build_seeded
from nas.training.check import check_network
from nas.training.findings import Findings, FindingsReporter
from nas.training.fit import TrainingFailed
from nas.training.lazy import materialized
from nas.training.recipe import Recipe
from nas.training.seeding import seed_all
from nas.training.weight_files import copied

SAMPLES = 20
IMAGES = 8
NETWORKS = 3
"""Architectures that are built; a network costs a thousand times as much as a sample."""


def space_promises(
    space: SearchSpace, task: Task, samples: int = SAMPLES, network: Mapping[str, Any] | None = None
) -> list[Promise]:
    """A space draws and varies valid architectures, reads the text it writes, and its networks classify the task.

    Args:
        samples: Number of architectures drawn.
        network: Sizes to build with; None: the space's own.
    """
    return [
        *_drawing_promises(space, samples),
        *_notation_promises(space, samples),
        *_network_promises(space, task, samples, network),
    ]


def _drawing_promises(space: SearchSpace, samples: int) -> list[Promise]:
    """Promises that strategies rely on."""

    def samples_are_valid() -> None:
        for architecture, _ in _drawn(space, samples):
            _check_plain(architecture, "sample")
            space.validate(architecture)

    def neighbours_are_near() -> None:
        for architecture, _ in _drawn(space, samples):
            for other in list(space.neighbours(architecture))[:5]:
                _check_plain(other, "neighbours")
                space.validate(other)
                assert _distance(space, architecture, other) == 1, f"neighbours gave {other} for {architecture}"
                _check_adjacent(space, architecture, other)

    def mutations_are_near() -> None:
        for architecture, rng in _drawn(space, samples):
            child = space.mutate(architecture, rng)
            _check_plain(child, "mutate")
            space.validate(child)
            changed = _distance(space, architecture, child)
            assert changed <= 1, f"mutate changed {changed} decisions of {architecture}, expected one"
            assert changed == 1 or not any(space.neighbours(architecture)), f"mutate left {architecture} unchanged"

    def children_resemble_parents() -> None:
        for first, rng in _drawn(space, samples):
            second = space.sample(rng)
            child = space.crossover(first, second, rng)
            _check_plain(child, "crossover")
            space.validate(child)
            active = space.active(child)
            for name, value, one, other in zip(space.choices, child, first, second, strict=True):
                assert name not in active or value in (one, other), (
                    f"crossover invented option {value}; the parents {first} and {second} have {one} and {other} there"
                )

    def what_is_off_changes_nothing() -> None:
        for architecture, rng in _drawn(space, samples):
            for position, name in enumerate(space.choices):
                _check_decision(space, architecture, position, name, rng)

    own = type(space)
    return [
        Promise("sample draws valid architectures", samples_are_valid, own.sample, needed=True),
        Promise("a decision that does not matter changes nothing", what_is_off_changes_nothing, own.active),
        Promise("neighbours differ in exactly one decision", neighbours_are_near, own.neighbours),
        Promise("mutate changes exactly one decision", mutations_are_near, own.mutate),
        Promise("crossover takes each decision from a parent", children_resemble_parents, own.crossover),
    ]


def _notation_promises(space: SearchSpace, samples: int) -> list[Promise]:
    """Promises that stores, exports and people rely on."""

    def text_is_read_as_written() -> None:
        for architecture, _ in _drawn(space, samples):
            text = space.to_text(architecture)
            assert isinstance(text, str), f"to_text must give a str, got {type(text).__name__}"
            assert "\n" not in text, f"to_text must be one line, got {text!r}"
            read = space.from_text(text)
            _check_plain(read, "from_text")
            assert read == architecture, (
                f"from_text({text!r}) is not the architecture it was written from: {read}, expected {architecture}"
            )

    def nonsense_is_refused() -> None:
        try:
            space.from_text("no architecture of any space")
        except UserError:
            return
        raise AssertionError("from_text accepted nonsense; it must raise UsageError")

    def canonical_is_a_function() -> None:
        for architecture, _ in _drawn(space, samples):
            key = space.canonical(architecture)
            assert isinstance(key, str), f"canonical must give a str, got {type(key).__name__}"
            assert key == space.canonical(tuple(architecture)), f"canonical gave two keys for {architecture}"

    def codes_are_alike() -> None:
        shape = space.encode(space.sample(np.random.default_rng(0))).shape
        for architecture, _ in _drawn(space, samples):
            code = space.encode(architecture)
            assert code.shape == shape, f"encode gave shapes {code.shape} and {shape}; expected one for all"
            assert ((code >= 0) & (code <= 1)).all(), f"encode gave {code.min():g} to {code.max():g}; expected 0 to 1"

    def published_are_known() -> None:
        for name, text in space.published.items():
            space.validate(space.from_text(name))
            assert space.from_text(name) == space.from_text(text), f"published {name!r} is not what from_text gives"

    own = type(space)
    return [
        Promise("from_text reads what to_text writes", text_is_read_as_written, own.from_text),
        Promise("from_text refuses what is not of the space", nonsense_is_refused, own.from_text),
        Promise("canonical is a function of the architecture", canonical_is_a_function, own.canonical),
        Promise("encode gives numbers from 0 to 1, equally many for all", codes_are_alike, own.encode),
        Promise("published architectures can be read", published_are_known, own),
    ]


def _network_promises(space: SearchSpace, task: Task, samples: int, network: Mapping[str, Any] | None) -> list[Promise]:
    """Promises that trainers rely on."""

    @cache
    def findings(architecture: Architecture) -> Findings:
        return _findings(space, architecture, task, network)

    def networks_classify() -> None:
        for architecture in _few(space, samples):
            findings(architecture)

    def parameters_are_registered() -> None:
        few = _few(space, samples)
        reporter = FindingsReporter(trainings=len(few))
        for architecture in few:
            result = findings(architecture)
            assert not result.unregistered, f"{space.to_text(architecture)}: {result.untrained()}"
            reporter.add(replace(result, lost=()))  # a promise of its own

    def states_are_whole() -> None:
        for architecture in _few(space, samples):
            lost = findings(architecture).lost
            assert not lost, (
                f"{space.to_text(architecture)}: no checkpoint holds {', '.join(lost)}, which training changes and the "
                "logits depend on; register buffers for it"
            )

    def networks_repeat() -> None:
        for architecture in _few(space, samples):
            _check_repeats(space, architecture, task, network)

    own = type(space)
    return [
        Promise("networks classify images of the task", networks_classify, own.build, needed=True),
        Promise("every learned tensor is a registered parameter", parameters_are_registered, own.build),
        Promise("a checkpoint holds everything that a network learns", states_are_whole, own.build),
        Promise("build gives the same weights for the same seed", networks_repeat, own.build),
    ]


def _drawn(space: SearchSpace, samples: int) -> Iterator[tuple[Architecture, np.random.Generator]]:
    rng = np.random.default_rng(0)
    for _ in range(samples):
        yield space.sample(rng), rng


def _few(space: SearchSpace, samples: int) -> list[Architecture]:
    rng = np.random.default_rng(1)
    return [space.sample(rng) for _ in range(min(samples, NETWORKS))]


def _distance(space: SearchSpace, first: Architecture, second: Architecture) -> int:
    """Number of decisions that matter in both architectures and differ."""
    both = space.active(first) & space.active(second)
    triples = zip(space.choices, first, second, strict=True)
    return sum(name in both and a != b for name, a, b in triples)


def _check_adjacent(space: SearchSpace, architecture: Architecture, other: Architecture) -> None:
    both = space.active(architecture) & space.active(other)
    for (name, kind), a, b in zip(space.decisions.items(), architecture, other, strict=True):
        assert not kind.ordered or name not in both or abs(a - b) <= 1, (
            f"neighbours moved {name} from {kind[a]} to {kind[b]}; expected an adjacent option"
        )


def _check_decision(
    space: SearchSpace, architecture: Architecture, position: int, name: str, rng: np.random.Generator
) -> None:
    """A decision changes only whether later ones matter; if it does not matter, nothing."""
    active = space.active(architecture)
    other = (*architecture[:position], int(rng.integers(space.sizes[position])), *architecture[position + 1 :])
    if name in active:
        before = set(list(space.choices)[: position + 1])
        assert space.active(other) & before == active & before, (
            f"whether an earlier decision matters depends on {name}; list {name} before what depends on it"
        )
        return
    assert architecture[position] == 0, f"sample gave {name}, which does not matter, another option than the first"
    assert space.active(other) == active, f"{name} does not matter, but decides what else does"
    assert space.canonical(other) == space.canonical(architecture), (
        f"{name} does not matter, but canonical depends on it"
    )


def _check_plain(architecture: Architecture, made_by: str) -> None:
    kind = type(architecture).__name__
    assert isinstance(architecture, tuple), f"{made_by} must give a tuple of ints, got {architecture!r}, a {kind}"
    for value in architecture:
        assert type(value) is int, f"{made_by} must give plain ints, got {value!r}, a {type(value).__name__}"


def _findings(space: SearchSpace, architecture: Architecture, task: Task, sizes: Mapping[str, Any] | None) -> Findings:
    """The check that every network passes before it is trained."""
    seed_all(0)
    network = space.build(architecture, task, sizes)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (IMAGES, task.channels, task.height, task.width), generator=generator).to(torch.uint8)
    labels = torch.arange(IMAGES) % task.classes
    images = Images(pixels, labels, (0.5,) * task.channels, (0.25,) * task.channels)
    try:
        return check_network(network, images, task, Recipe(epochs=1, batch_size=IMAGES))
    except TrainingFailed as failure:
        raise AssertionError(f"{space.to_text(architecture)}: {failure.message}") from failure


def _run(network: nn.Module, images: torch.Tensor, *, training: bool) -> Any:
    """Logits in one mode, through a `train` that may return None."""
    network.train(training)
    return network(images)


def _check_repeats(space: SearchSpace, architecture: Architecture, task: Task, sizes: Mapping[str, Any] | None) -> None:
    """Weights and evaluation repeat, independent of earlier builds, and depend on the seed."""
    states = []
    images = torch.randn(4, task.channels, task.height, task.width, generator=torch.Generator().manual_seed(0))
    for seed in (1, 2, 1):
        try:
            network = materialized(build_seeded(seed, lambda: space.build(architecture, task, sizes)), task)
        except TrainingFailed as failure:
            raise AssertionError(f"{space.to_text(architecture)}: {failure.message}") from failure
        initial = copied(network)
        with torch.no_grad():
            seed_all(1)
            outcome = [_run(network, images, training=training) for training in (True, False)]
        states.append((initial, outcome))
    (first, outcome), (other, _), (second, again) = states
    for name, value in first.items():
        assert name in second, f"build created the weight {name} only once for {space.to_text(architecture)}"
        assert not isinstance(value, torch.Tensor) or torch.equal(value, second[name]), (
            f"build gave different weights ({name}) for the seed of an earlier build; draw them from torch's global "
            "generator and keep none between calls"
        )
    assert all(torch.equal(a, b) for a, b in zip(outcome, again, strict=True)), (
        "two networks with the same weights and the same random numbers give different logits; forward must draw from "
        "the global generators of torch, NumPy or Python"
    )
    drawn = [name for name, value in network.named_parameters() if bool((value != value.flatten()[:1]).any())]
    assert not drawn or any(name not in other or not torch.equal(first[name], other[name]) for name in drawn), (
        "build gives the same weights for every seed, so trainings with different seeds do not differ; draw them "
        "from torch's global generator and keep none between calls"
    )
