"""PC-DARTS's supernet against the same written plainly: eq. 1 and 2 of the paper, edge by edge."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.core import Objective, Task
from nas.strategies.pc_darts import PCDARTS
from search_spaces.darts import DARTS
from search_spaces.darts_topology import EDGES, SUPERNET_OPERATIONS
from search_spaces.nasbench201 import NASBench201
from search_spaces.nasbench201_network import operation
from search_spaces.nasbench201_topology import EDGES as NB201_EDGES
from search_spaces.operations import batch_statistics, cell_operation

K, TASK = 4, Task(3, 16, 16, 10)


def shuffled(x):
    batch, channels, height, width = x.shape
    return x.view(batch, K, channels // K, height, width).transpose(1, 2).reshape(x.shape)


def decided(space):
    """Probabilities and weights of edges that are far from equal."""
    strategy = PCDARTS(space=space, objective=Objective(), partial_channels=K)
    strategy.init(np.random.default_rng(0), torch.device("cpu"))
    with torch.no_grad():
        for parameter in strategy.parameters.values():
            parameter.mul_(1000)
    return {name: rows.double() for name, rows in strategy.expected().items()}


def edge(x, operations, weights, share, stride):
    """S * x through the operations, (1 - S) * x beside them, times the weight of the edge."""
    width = x.shape[1] // K
    through = sum(weight * run(x[:, :width].contiguous()) for run, weight in zip(operations, weights, strict=True))
    beside = x[:, width:] if stride == 1 else F.max_pool2d(x[:, width:], 2, 2)
    if not torch.is_tensor(through):
        through = beside.new_zeros((len(x), width, *beside.shape[2:]))
    return share * shuffled(torch.cat([through, beside], 1))


def darts_cell(cell, before, last, probs, shares):
    states = [cell.before(before), cell.last(last)]
    for node in range(2, 6):
        total = 0
        for row, (source, target) in enumerate(EDGES):
            if target != node:
                continue
            stride = 2 if cell.reduction and source < 2 else 1
            width = states[source].shape[1] // K
            operations = [
                cell.edges[key]
                if (key := f"{source}_{node}_{name}") in cell.edges
                else cell_operation(name, width, stride, batch_statistics, normalised_pools=True)
                for name in SUPERNET_OPERATIONS[1:]
            ]
            total = total + edge(states[source], operations, probs[row, 1:], shares[row], stride)
        states.append(total)
    return torch.cat(states[2:], 1)


@torch.no_grad()
def test_the_supernet_of_darts():
    torch.manual_seed(0)
    space = DARTS()
    supernet = space.supernet(TASK, {"channels": 8, "cells": 5}, partial_channels=K).double()
    probs, images = decided(space), torch.randn(4, 3, 16, 16).double()
    before = last = supernet.stem(images)
    for cell in supernet.cells:
        name = "reduce" if cell.reduction else "normal"
        before, last = last, darts_cell(cell, before, last, probs[name], probs[f"{name}_edges"])
    expected = supernet.classifier(last.mean((2, 3)))
    assert torch.allclose(supernet(images, probs), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_supernet_of_nasbench201():
    torch.manual_seed(0)
    space = NASBench201()
    supernet = space.supernet(TASK, {"channels": 8, "cells": 1}, partial_channels=K).double()
    probs, x = decided(space), torch.randn(4, 3, 16, 16).double()
    names = space.operations["cell"]
    expected = supernet.stem(x)
    for block in supernet.body:
        if not hasattr(block, "partial"):
            expected = block(expected)
            continue
        states = [expected]
        for node in range(1, 4):
            total = 0
            for row, (source, target) in enumerate(NB201_EDGES):
                if target == node:
                    width = states[source].shape[1] // K
                    operations = [
                        block.edges[key]
                        if (key := f"{source}_{node}_{name}") in block.edges
                        else operation(name, width, batch_statistics)
                        for name in names[1:]
                    ]
                    total = total + edge(
                        states[source], operations, probs["cell"][row, 1:], probs["cell_edges"][row], 1
                    )
            states.append(total)
        expected = states[-1]
    assert torch.allclose(supernet(x, probs), supernet.logits(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_edges_are_derived_by_the_product_of_both(seed):
    space = DARTS()
    rng = np.random.default_rng(seed)
    planted = space.sample(rng)
    flat = {name: torch.full(shape, 1 / shape[1]) for name, shape in space.alpha_shapes.items()}
    probs = {name: rows + 0.01 * space.relax(planted)[name] for name, rows in flat.items()}
    # only the weights of the edges decide which two of a node are kept
    for name in space.alpha_shapes:
        probs[f"{name}_edges"] = (space.relax(planted)[name][:, 1:].sum(1) > 0).float() + 0.1
    assert space.derive(probs) == planted
