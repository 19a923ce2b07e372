import random
from collections import defaultdict
from itertools import permutations

import pytest
import torch

from nas.core import Task
from nas.errors import UsageError
from nas.training import count
from search_spaces.nasbench201 import NASBench201
from search_spaces.nasbench201_canonical import canonical_form, published_key
from search_spaces.nasbench201_network import Cell
from search_spaces.nasbench201_topology import EDGES, OPERATIONS

CIFAR = Task(channels=3, height=32, width=32, classes=10)


@pytest.fixture(scope="module")
def space():
    return NASBench201()


def test_the_size_is_the_published_one(space):
    assert space.size == 15_625
    assert len(set(space.architectures())) == 15_625


def test_the_official_string_of_every_row_of_the_benchmark_is_read_and_written(space, table):
    seen = set()
    for row in table:
        architecture = space.from_text(row["arch_str"])
        assert space.to_text(architecture) == row["arch_str"]
        seen.add(architecture)
    assert len(seen) == 15_625


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|nor_conv_3x3~0|",
        "|nor_conv_3x3~0|+|none~0|none~1|",
        "|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|",
        "Genotype(normal=[('skip_connect', 0)])",
    ],
)
def test_text_of_another_space_is_refused_by_value(space, text):
    with pytest.raises(UsageError, match="NAS-Bench-201"):
        space.from_text(text)


def test_the_canonical_key_has_5875_classes_and_the_published_rule_6466(space):
    assert len({space.canonical(a) for a in space.architectures()}) == 5_875
    assert len({published_key(a) for a in space.architectures()}) == 6_466


def test_one_convolution_used_twice_differs_from_two(space):
    twice = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|"
    two = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|skip_connect~2|"
    assert space.canonical(space.from_text(twice)) == "conv3#0(x)+conv3#0(x)"
    assert space.canonical(space.from_text(two)) == "conv3#0(x)+conv3#1(x)"
    assert published_key(space.from_text(twice)) == published_key(space.from_text(two))


def test_a_convolution_of_a_dead_input_is_kept_and_a_pooling_of_one_is_not(space):
    dead = "|none~0|+|none~0|{}~1|+|skip_connect~0|none~1|skip_connect~2|"
    assert space.canonical(space.from_text(dead.format("nor_conv_3x3"))) == "conv3#0(0)+x"
    assert space.canonical(space.from_text(dead.format("avg_pool_3x3"))) == "x"


@pytest.mark.parametrize("sampled", [150, pytest.param(None, marks=pytest.mark.slow)], ids=["some", "all"])
def test_members_of_a_class_agree_when_their_live_convolutions_share_weights(space, sampled):
    """The proof of `canonical` by computing: float64, training mode, random weights and random normalisation."""
    classes = defaultdict(list)
    for architecture in space.architectures():
        classes[space.canonical(architecture)].append(architecture)
    several = [members for members in classes.values() if len(members) > 1]
    assert sum(len(members) - 1 for members in several) == 15_625 - 5_875
    generator = random.Random(0)
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    compared = 0
    for members in generator.sample(several, sampled) if sampled else several:
        first, *others = generator.sample(members, min(len(members), 4)) if sampled else members
        reference = _cell(first)
        for other in others:
            copied = _copied(other, canonical_form(other)[1], reference, canonical_form(first)[1])
            assert torch.allclose(copied(x), reference(x), rtol=0, atol=1e-12), (first, other)
            compared += 1
    assert compared > 200


def test_cells_of_unlike_classes_differ_however_their_weights_are_shared(space):
    """The reverse: unlike keys with the same live convolutions differ under every assignment of equal weights.

    Cells with pooling are left out: it is linear, and pool(a + b) = pool(a) + pool(b) is not among the rules.
    """
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    alike = defaultdict(dict)
    for architecture in space.architectures():
        key, edges = canonical_form(architecture)
        if len(edges) <= 3 and OPERATIONS.index("avg_pool_3x3") not in architecture:
            alike[tuple(sorted(architecture[edge] for edge in edges))].setdefault(key, (architecture, edges))
    generator = random.Random(0)
    for _ in range(100):
        classes = list(generator.choice([classes for classes in alike.values() if len(classes) > 1]).values())
        (first, edges), (second, own_edges) = generator.sample(classes, 2)
        reference = _cell(first)
        for order in permutations(edges):
            if [first[edge] for edge in order] == [second[edge] for edge in own_edges]:
                assert not torch.allclose(_copied(second, own_edges, reference, order)(x), reference(x)), (
                    first,
                    second,
                )


def _cell(architecture):
    cell = Cell(architecture, 4).double().train()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def _edge(cell, name):
    """The module of the edge `source_target`, of any operation."""
    return next(module for key, module in cell.edges.items() if key.startswith(f"{name}_"))


def _copied(architecture, edges, reference, origins):
    """A cell whose convolutions on `edges` carry the reference's weights of the edges `origins`."""
    cell = _cell(architecture)
    for edge, origin in zip(edges, origins, strict=True):
        to, source = ("{}_{}".format(*EDGES[number]) for number in (edge, origin))
        _edge(cell, to).load_state_dict(_edge(reference, source).state_dict())
    return cell


def test_parameters_and_flops_equal_the_benchmarks_own(space, table):
    """Parameters to the last one; FLOPs up to the classifier's 10 bias additions, which the benchmark counts."""
    rows = random.Random(0).sample(table, 200) + table[:10]
    for row in rows:
        with torch.device("meta"):  # shapes without numbers
            network = space.build(space.from_text(row["arch_str"]), CIFAR)
        assert count.parameters(network) == round(float(row["c10_params_m_analytic"]) * 1e6), row["arch_str"]
    for row in rows[:8]:
        network = space.build(space.from_text(row["arch_str"]), CIFAR)
        assert count.flops(network, CIFAR) + 10 == round(float(row["c10_flops_m"]) * 1e6), row["arch_str"]


def test_the_skeleton_can_be_resized_and_refuses_what_it_does_not_know(space):
    architecture = (OPERATIONS.index("skip_connect"),) * 6
    small = space.build(architecture, CIFAR, {"channels": 8, "cells": 1})
    assert small.classifier.in_features == 32
    assert len(small.body) == 5
    with pytest.raises(UsageError, match=r"trainer.network.width is not a size of NASBench201; it has channels, cells"):
        space.build(architecture, CIFAR, {"width": 8})
    with pytest.raises(UsageError, match=r"trainer.network.cells must be a whole number of at least 1, got 0"):
        space.build(architecture, CIFAR, {"cells": 0})


@pytest.mark.parametrize("side", [7, 8, 28, 32])
def test_images_of_other_sizes_pass(space, side):
    task = Task(channels=1, height=side, width=side, classes=3)
    network = space.build((3, 1, 4, 2, 0, 1), task, {"channels": 4, "cells": 1})
    assert network(torch.zeros(2, 1, side, side)).shape == (2, 3)


def test_the_derived_cell_is_the_likeliest_connected_one():
    space = NASBench201()
    none = OPERATIONS.index("none")
    cells = torch.tensor(list(space.architectures()))
    carries = torch.tensor(["x" in space.canonical(cell) for cell in space.architectures()])
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        rows = torch.randn(6, 5, generator=rng)
        rows[:, none] += 2.0 * (seed % 3)
        probs = rows.softmax(1)
        chances = probs.double().gather(1, cells.T).prod(0) * carries
        assert space.derive({"cell": probs}) == tuple(cells[int(chances.argmax())].tolist())


def test_its_graph_marks_dead_edges():
    space = NASBench201()
    for cell in list(space.architectures())[::7]:
        (graph,) = space.graphs(cell).values()
        assert any(graph.live()) == ("x" in space.canonical(cell))
    (graph,) = space.graphs(
        space.from_text("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
    ).values()
    assert graph.live() == [False, False, False, True, False, False]
