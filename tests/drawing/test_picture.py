"""Pictures of cells: nothing overlaps, edges connect their nodes, equal cells give equal bytes."""

import os
import subprocess
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import nn

from nas.core import Task
from nas.drawing.layout import arrange
from nas.drawing.picture import FONT_SIZE, cell_figure, line_width, network_figure, save
from nas.drawing.stages import Stage, stages
from nas.errors import UserError
from nas.space.graph import Edge, Graph
from search_spaces.darts import DARTS
from search_spaces.nasbench101 import NASBench101
from search_spaces.nasbench201 import NASBench201
from search_spaces.nasnet import NASNet
from search_spaces.nats_sss import NATSSize

TASK = Task(3, 32, 32, 10)
SPACES = [NASBench201(), DARTS(), NASNet(), NASBench101(), NATSSize()]
SIZES = {"node": 20.0, "label": 30.0, "pass": 10.0}


def graphs(space, count):
    rng = np.random.default_rng(0)
    texts = [space.from_text(text) for text in space.published.values()]
    for architecture in [*texts, *(space.sample(rng) for _ in range(count))]:
        yield from space.graphs(architecture).values()


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_vertices_of_a_column_are_apart_and_edges_pass_every_column(space):
    for graph in graphs(space, 6):
        layout = arrange(graph, SIZES)
        for column in layout.columns:
            for above, below in pairwise(column):
                apart = (SIZES[above.kind] + SIZES[below.kind]) / 2
                assert layout.heights[below] - layout.heights[above] >= apart - 1e-6
        for edge, route in zip(graph.edges, layout.routes, strict=True):
            assert (route[0].name, route[-1].name) == (edge.source, edge.target)
            assert [part.column for part in route] == list(range(route[0].column, route[-1].column + 1))
            assert sum(part.kind == "label" for part in route) == bool(edge.operation)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_text_of_a_cell_is_legible_at_600_pixels_and_does_not_overlap(space):
    for graph in graphs(space, 1):
        figure = cell_figure(graph)
        width, height = figure.get_size_inches() * 72
        assert FONT_SIZE * 600 / max(width, 600) >= 8.5  # pixels of the font, where a point is a pixel at most
        texts = figure.axes[0].texts
        boxes = []
        for text in texts:
            if text.get_text():
                x, y = text.get_position()
                half = line_width(text.get_text()) / 2
                assert x - half >= 0
                assert x + half <= width
                assert 0 < y < height
                boxes.append((x - half, x + half, y - FONT_SIZE / 2, y + FONT_SIZE / 2))
        for a, b in combinations(boxes, 2):
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]


def test_every_operation_and_node_is_named(tmp_path):
    space = SPACES[0]
    (graph,) = space.graphs(space.from_text("|nor_conv_3x3~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|")).values()
    texts = [text.get_text() for text in cell_figure(graph).axes[0].texts]
    assert [texts.count(word) for word in ("none", "nor conv", "avg pool", "3×3", "0", "3")] == [4, 1, 1, 2, 1, 1]
    first = [path.read_bytes() for path in save(cell_figure(graph), tmp_path, "cell")]
    again = [path.read_bytes() for path in save(cell_figure(graph), tmp_path, "cell")]
    assert first == again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.png", "cell.svg"]


def test_a_graph_is_checked():
    with pytest.raises(ValueError, match="later one"):
        Graph(["a", "b"], [Edge("b", "a")], ["a"], ["b"])
    with pytest.raises(ValueError, match="'c' is not a node"):
        Graph(["a", "b"], [Edge("a", "b")], ["a"], ["c"])


def test_stages_are_read_off_the_network():
    space = SPACES[0]
    network = space.build((3,) * 6, TASK, {"channels": 4, "cells": 2})
    assert stages(network, TASK) == [
        Stage("images", 1, (3, 32, 32)),
        Stage("stem", 1, (4, 32, 32)),
        Stage("cell", 2, (4, 32, 32)),
        Stage("residual\nreduction", 1, (8, 16, 16)),
        Stage("cell", 2, (8, 16, 16)),
        Stage("residual\nreduction", 1, (16, 8, 8)),
        Stage("cell", 2, (16, 8, 8)),
        Stage("norm", 1, (16, 8, 8)),
        Stage("classifier", 1, (10,)),
    ]
    assert network.training
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.ReLU(), nn.Linear(10, 10))
    assert [stage.name for stage in stages(plain, TASK)] == ["images", "flatten", "linear", "relu", "linear"]
    network_figure(stages(plain, TASK))


def test_an_auxiliary_head_is_not_a_stage_and_statistics_are_unchanged():
    space = SPACES[1]
    network = space.build(space.from_text("DARTS_V2"), TASK, {"channels": 4, "cells": 5, "auxiliary": True})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names = [stage.name for stage in stages(network, TASK)]
    assert not any("auxiliary" in name for name in names)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Everything(nn.Module):
    """Blocks in a dictionary, one that returns a tuple, one that is frozen, and no parameter but complex ones first."""

    def __init__(self):
        super().__init__()
        self.phase = nn.Parameter(torch.ones(1, dtype=torch.complex64))
        self.blocks = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4).eval()})
        self.sequence = nn.LSTM(4, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, images):
        maps = self.blocks["norm"](self.blocks["stem"](images))
        out, _ = self.sequence(maps.flatten(2).transpose(1, 2))
        return self.head(self.attention(out, out, out)[0].mean(1))


def test_blocks_that_return_tuples_or_are_in_a_dictionary_are_stages_too():
    network = Everything()
    assert [(stage.name, stage.shape) for stage in stages(network, Task(3, 8, 8, 10))] == [
        ("images", (3, 8, 8)),
        ("stem", (4, 6, 6)),
        ("norm", (4, 6, 6)),
        ("sequence", (36, 6)),
        ("attention", (36, 6)),
        ("head", (10,)),
    ]
    assert network.training
    assert not network.blocks["norm"].training


def test_a_network_without_blocks_is_one_stage():
    assert [stage.name for stage in stages(nn.Conv2d(3, 10, 8), Task(3, 8, 8, 10))] == ["images", "conv2d"]


def test_a_network_that_cannot_be_run_is_reported_in_a_sentence():
    with pytest.raises(UserError, match="the stages cannot be drawn, since the network fails: RuntimeError: mat1"):
        stages(nn.Sequential(nn.Flatten(), nn.Linear(7, 10)), TASK)


GRAPH = 'Graph(["in", "out"], [Edge("in", "out", "$$"), Edge("in", "out", "a$b$c_{")], ["in"], ["out"])'
DRAW = f"""
from pathlib import Path
from nas.drawing.picture import cell_figure, save
from nas.space.graph import Edge, Graph

save(cell_figure({GRAPH}), Path(), "cell")
"""


def test_pictures_do_not_depend_on_the_users_matplotlib(tmp_path):
    """A backend that is not installed, as in a notebook's processes; TeX; characters that TeX would interpret."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\naxes.facecolor: red\n")
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    subprocess.run([sys.executable, "-c", DRAW], cwd=tmp_path, env=environment, check=True, timeout=100)
    (tmp_path / "here").mkdir()
    save(cell_figure(eval(GRAPH)), tmp_path / "here", "cell")
    for name in ("cell.png", "cell.svg"):
        picture = (tmp_path / name).read_bytes()
        assert len(picture) > 1000
        assert picture == (tmp_path / "here" / name).read_bytes()
