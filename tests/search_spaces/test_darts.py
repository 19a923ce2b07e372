import numpy as np
import pytest
import torch

from nas.core import Task
from nas.errors import UsageError
from nas.training import count
from search_spaces.darts import DARTS, genotype
from search_spaces.darts_topology import EDGES, OPERATIONS, SUPERNET_OPERATIONS
from search_spaces.genotype import DARTS_V1, DARTS_V2, NASNET_A
from search_spaces.nasnet import NASNet

CIFAR = Task(channels=3, height=32, width=32, classes=10)
NASBENCH = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


def test_every_product_of_decisions_is_a_cell():
    space = DARTS()
    pairs, operations = 1 * 3 * 6 * 10, 7**8
    assert space.size == (pairs * operations) ** 2
    rng = np.random.default_rng(0)
    for _ in range(200):
        cell = genotype(space.sample(rng)).normal
        for node in range(4):
            assert cell[2 * node][1] < cell[2 * node + 1][1] < 2 + node


def test_darts_v2_has_the_published_3_3_million_parameters():
    space = DARTS()
    assert count.parameters(space.build(space.from_text("DARTS_V2"), CIFAR)) == 3_349_342


def test_the_auxiliary_head_is_used_only_in_training():
    space = DARTS(channels=4, cells=5, auxiliary=True)
    network = space.build(space.from_text("DARTS_V1"), CIFAR)
    images = torch.randn(2, 3, 32, 32)
    logits, second = network.train()(images)
    assert logits.shape == second.shape == (2, 10)
    assert network.eval()(images).shape == (2, 10)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 8, 20])
def test_the_auxiliary_head_takes_images_of_any_size(side):
    space = NASNet(channels=4, cells=3, auxiliary=True)
    network = space.build(space.from_text("NASNet-A"), Task(1, side, side + 1, 4)).train()
    assert network(torch.randn(3, 1, side, side + 1))[1].shape == (3, 4)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    space = DARTS(channels=4, cells=3)
    network = space.build(space.from_text("DARTS_V1"), Task(1, 4, 4, 2)).train()
    cell = network.cells[0]
    name, _ = cell.steps[0]
    x = torch.randn(4000, 4, 4, 4)
    dropped = cell.edge_output(name, x, 0.25)
    zero = dropped.flatten(1).abs().sum(1) == 0
    assert 0.2 < zero.float().mean() < 0.3
    plain = cell.edge_output(name, x, 0.0)
    torch.testing.assert_close(dropped[~zero], plain[~zero] / 0.75, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (DARTS(), NASBENCH, "NAS-Bench-201 string"),
        (NASNet(), NASBENCH, "NAS-Bench-201 string"),
        (DARTS(), str(NASNET_A), "has 5 nodes.*space=nasnet"),
        (NASNet(), str(DARTS_V2), "has 4 nodes.*space=darts"),
        (DARTS(), str(DARTS_V2).replace("dil_conv_3x3", "sep_conv_7x7"), "'sep_conv_7x7'.*not an operation.*DARTS"),
        (DARTS(), str(DARTS_V2).replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 0)", 1), "source 0 twice"),
        (DARTS(), str(DARTS_V1).replace("range(2, 6)", "[2, 3]", 1), "normal_concat"),
        (NASNet(), str(NASNET_A).replace("range(4, 7)", "[3]", 1), "no other uses.*4, 5, 6"),
        (DARTS(), "DARTS_V3", "not a published cell of the DARTS space; expected DARTS_V1 or DARTS_V2"),
        (DARTS(), "NASNet-A", "not a published cell of the DARTS space"),
    ],
)
def test_other_text_is_refused_by_name(space, text, message):
    with pytest.raises(UsageError, match=message):
        space.from_text(text)


def test_the_order_of_a_concatenation_does_not_matter():
    space = DARTS()
    assert space.from_text(str(DARTS_V1).replace("range(2, 6)", "[5, 2, 3, 4]", 1)) == space.from_text("DARTS_V1")


@pytest.mark.parametrize("sizes", [{"channels": 1}, {"cells": 2}, {"auxiliary": 1}, {"cells": True}])
def test_sizes_are_checked(sizes):
    with pytest.raises(UsageError, match=f"space.{next(iter(sizes))}"):
        DARTS(**sizes)
    with pytest.raises(UsageError, match=f"trainer.network.{next(iter(sizes))}"):
        DARTS().build(DARTS().from_text("DARTS_V1"), CIFAR, sizes)


def test_derive_keeps_the_two_likeliest_edges_of_a_node_and_never_none():
    space = DARTS()
    probs = {cell: torch.full((14, 8), 0.01) for cell in ("normal", "reduce")}
    for row in range(14):
        probs["normal"][row, 0] = 0.9  # none
    rows = {edge: row for row, edge in enumerate(EDGES)}
    likely = {
        (0, 2): "sep_conv_3x3",
        (1, 2): "skip_connect",
        (1, 3): "dil_conv_5x5",
        (2, 3): "max_pool_3x3",
        (3, 4): "sep_conv_5x5",
        (0, 4): "avg_pool_3x3",
        (4, 5): "skip_connect",
        (2, 5): "dil_conv_3x3",
    }
    for position, (edge, name) in enumerate(likely.items()):
        probs["normal"][rows[edge], SUPERNET_OPERATIONS.index(name)] = 0.05 + 0.001 * position
    derived = genotype(space.derive(probs)).normal
    assert {(source, 2 + position // 2): name for position, (name, source) in enumerate(derived)} == likely


def test_canonical_joins_cells_that_differ_in_the_numbers_of_their_nodes():
    space = DARTS()
    text = str(DARTS_V1)
    first = "[('sep_conv_3x3', 0), ('skip_connect', 1), ('skip_connect', 0), ('max_pool_3x3', 1), "
    other = "[('skip_connect', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 1), "
    rest = "('sep_conv_5x5', 0), ('skip_connect', 1), ('dil_conv_3x3', 0), ('skip_connect', {})]"
    tail = ", normal_concat=range(2, 6), reduce=" + text[text.index("[('max") :]
    one = space.from_text("Genotype(normal=" + first + rest.format(2) + tail)
    two = space.from_text("Genotype(normal=" + other + rest.format(3) + tail)
    assert one != two
    assert space.canonical(one) == space.canonical(two)
    assert len(OPERATIONS) == 7
