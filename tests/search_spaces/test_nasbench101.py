"""NAS-Bench-101: its cells, its hash and its network, held against what the benchmark published.

Entries of the benchmark's table are from https://github.com/google-research/nasbench: the Inception-like cell with its
parameters from NASBench.ipynb, the best cell by mean test accuracy from issue 4, and the entry of least hash as several
projects print it (https://github.com/microsoft/nni, `BenchmarksExample`; https://github.com/chenyaofo/CTNAS).
"""

from collections import defaultdict
from itertools import permutations, product

import numpy as np
import pytest
import torch

from nas import Budget, search
from nas.core import Task
from nas.data.digits import Digits
from nas.errors import UsageError
from nas.evaluators.training import TrainingEvaluator
from nas.strategies import RegularizedEvolution
from nas.training import count
from nas.training.recipe import Recipe
from search_spaces.nasbench101 import OPERATIONS, Cell, NASBench101, cell_of, graph_hash, graphs
from search_spaces.nasbench101_network import Cell as CellModule
from search_spaces.nasbench101_network import vertex_channels

CIFAR = Task(channels=3, height=32, width=32, classes=10)
CONV3, CONV1, POOL = OPERATIONS
FIRST = (
    ["0100110", "0010000", "0001001", "0000010", "0000010", "0000001", "0000000"],
    (CONV3, POOL, CONV3, CONV3, CONV1),
)
INCEPTION = (
    ["0111010", "0000001", "0000001", "0000100", "0000001", "0000001", "0000000"],
    (CONV1, CONV3, CONV3, CONV3, POOL),
)
BEST = (
    ["0100111", "0010000", "0001000", "0000010", "0000010", "0000001", "0000000"],
    (CONV3, POOL, CONV3, CONV1, CONV3),
)


@pytest.fixture(scope="module")
def space():
    return NASBench101()


def read(space, entry):
    """The architecture of an entry of the table: its matrix, row by row, and its operations."""
    rows, operations = entry
    return space.from_matrix([[int(sign) for sign in row] for row in rows], ("input", *operations, "output"))


def test_the_hash_is_the_one_in_the_benchmarks_table(space):
    assert space.canonical(read(space, FIRST)) == "00005c142e6f48ac74fdcf73e3439874"


def least_form(cell):
    """The least way to write a cell over all numberings of its vertices: equal for isomorphic cells, and only these."""
    output = len(cell.inputs)
    forms = []
    for order in permutations(range(1, output)):
        number = (0, *order, output)
        edges = sorted((number[s], number[t]) for t, sources in enumerate(cell.inputs, 1) for s in sources)
        labels = sorted((number[vertex], label) for vertex, label in enumerate(cell.operations, 1))
        forms.append((edges, labels))
    return str(min(forms))


def test_equal_hashes_are_isomorphic_cells_and_no_others():
    """By trying all permutations, for every cell of up to 5 vertices."""
    classes, cells = {}, 0
    for vertices in range(2, 6):
        for inputs in graphs(vertices):
            for operations in product(range(3), repeat=vertices - 2):
                cell = Cell(operations, inputs)
                cells += 1
                assert classes.setdefault(graph_hash(cell), least_form(cell)) == least_form(cell)
    assert cells == 3_364
    assert len(classes) == len(set(classes.values())) == 2_532


@pytest.mark.parametrize(
    ("vertices", "expected"),
    [
        (2, 1),
        (3, 7),
        (4, 91),
        (5, 2_532),
        pytest.param(6, 64_542, marks=pytest.mark.slow),
        pytest.param(7, 423_624, marks=pytest.mark.slow),  # the number that the paper gives
    ],
)
def test_the_isomorphism_classes_are_as_many_as_published(vertices, expected):
    """Isomorphic graphs carry the same labelled cells, so one graph of each class without labels is enough."""
    unlabelled = {}
    for number in range(2, vertices + 1):
        for inputs in graphs(number):
            unlabelled.setdefault(graph_hash(Cell((0,) * (number - 2), inputs)), inputs)
    classes = {
        graph_hash(Cell(operations, inputs))
        for inputs in unlabelled.values()
        for operations in product(range(3), repeat=len(inputs) - 1)
    }
    assert len(classes) == expected


def test_the_architectures_are_the_labelled_graphs(space):
    """As many as the benchmark's script finds before it removes isomorphic ones."""
    assert space.size == 1_293_208
    few = [a for a, _ in zip(space.architectures(), range(3_364), strict=False)]
    assert len(set(few)) == 3_364
    assert all(space.is_valid(a) for a in few)
    assert {len(cell_of(a).inputs) + 1 for a in few} == {2, 3, 4, 5}


def test_samples_are_uniform_over_the_architectures(space):
    """Of 1,293,208 architectures, 1,164,699 have 7 vertices and 125,145 have 6."""
    rng = np.random.default_rng(0)
    vertices = [len(cell_of(space.sample(rng)).inputs) + 1 for _ in range(3_000)]
    assert abs(vertices.count(7) / 3_000 - 0.9006) < 0.03
    assert abs(vertices.count(6) / 3_000 - 0.0968) < 0.03


def test_a_mutation_or_a_neighbour_is_always_another_cell(space):
    """Most changes of a matrix of 21 edges with 5 operations are not."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        architecture = space.sample(rng)
        own = space.canonical(architecture)
        near = [space.mutate(architecture, rng), *space.neighbours(architecture)]
        assert all(space.canonical(other) != own for other in near)


def test_neighbours_add_and_remove_vertices(space):
    sizes = defaultdict(int)
    for other in space.neighbours(space.from_text("conv3x3:0+conv1x1:1+output:02")):
        sizes[len(cell_of(other).inputs) + 1] += 1
    # without the second vertex; with a third one, of each operation, after any vertex or in place of the last edge
    assert sizes[3] == 1
    assert sizes[5] == 3 * 4


@pytest.mark.parametrize(("vertices", "cells"), [(4, 97), pytest.param(5, 3_364, marks=pytest.mark.slow)])
def test_every_cell_can_be_reached_by_single_changes(space, vertices, cells):
    """From the smallest, through cells of up to so many vertices."""
    start = space.from_text("output:0")
    reached, new = {start}, [start]
    while new:
        found = {near for a in new for near in space.neighbours(a) if len(cell_of(near).inputs) < vertices} - reached
        reached |= found
        new = sorted(found)
    assert len(reached) == cells


def test_vertices_on_no_path_are_left_out(space):
    """One that nothing feeds, and one that feeds nothing."""
    chain = space.from_text("conv3x3:0+output:1")
    assert space.from_text("conv3x3:0+conv1x1:0+output:1") == chain
    matrix = [[0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert space.from_matrix(matrix, ("input", CONV3, POOL, CONV1, "output")) == chain


def test_published_cells_are_those_of_the_table(space):
    assert space.from_text("NB101-best") == read(space, BEST)
    assert space.from_text("NB101-Inception") == read(space, INCEPTION)


def test_text_is_short_and_accepts_the_names_of_the_benchmark(space):
    architecture = space.from_text(f"{CONV3}:0 + {POOL}:01 + output:02")
    assert space.to_text(architecture) == "conv3x3:0+maxpool3x3:01+output:02"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "'' is not a vertex of NAS-Bench-101; expected OPERATION:SOURCES such as conv1x1:02 with one of conv3x3, ",
        ),
        ("conv5x5:0+output:1", "'conv5x5:0' is not a vertex of NAS-Bench-101"),
        ("conv3x3+output:1", "'conv3x3' is not a vertex of NAS-Bench-101"),
        ("conv3x3:1+output:1", "'conv3x3:1' must name the vertices that feed it by their digits, out of 0$"),
        ("conv3x3:+output:1", "'conv3x3:' must name the vertices that feed it by their digits, out of 0$"),
        ("conv3x3:-1+output:1", "must name the vertices that feed it by their digits, out of 0$"),
        ("conv3x3:0", r"must end in its one output, such as \+output:1"),
        ("output:0+output:0", "must end in its one output"),
        ("+".join(["conv3x3:0", *(f"conv1x1:{v}" for v in range(1, 6)), "output:6"]), "has 8 vertices and 7 edges"),
        ("conv3x3:0+conv3x3:01+conv3x3:012+output:0123", "has 5 vertices and 10 edges.*at most 7 and 9"),
        ("|nor_conv_3x3~0|", "is not a vertex of NAS-Bench-101"),
    ],
)
def test_text_of_no_cell_is_refused_by_its_part(space, text, message):
    with pytest.raises(UsageError, match=message):
        space.from_text(text)


@pytest.mark.parametrize(
    ("matrix", "operations", "message"),
    [
        ([[0, 0], [0, 0]], ("input", "output"), "matrix: no path leads from the input to the output"),
        ([[0, 1], [1, 0]], ("input", "output"), "matrix must be upper triangular"),
        ([[0, 1]], ("input", "output"), "matrix must be square with a row for each of the 2 operations"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ("input", "conv5", "output"), "'conv5' is not one of conv3x3-bn-relu, "),
    ],
)
def test_a_matrix_of_no_cell_is_refused(space, matrix, operations, message):
    with pytest.raises(UsageError, match=message):
        space.from_matrix(matrix, operations)


def test_its_graph_has_the_operations_on_the_vertices(space):
    (graph,) = space.graphs(space.from_text("conv3x3:0+maxpool3x3:1+output:02")).values()
    assert list(graph.nodes) == ["input", "1 conv3x3", "2 maxpool3x3", "output"]
    assert [(edge.source, edge.target) for edge in graph.edges] == [
        ("input", "1 conv3x3"),
        ("1 conv3x3", "2 maxpool3x3"),
        ("input", "output"),
        ("2 maxpool3x3", "output"),
    ]
    assert all(graph.live())


@pytest.mark.parametrize(
    ("entry", "parameters"),
    [(FIRST, 8_555_530), (INCEPTION, 2_694_282), (BEST, 32_426_634)],
    ids=["first", "inception-like", "best"],
)
def test_parameters_are_those_of_the_benchmarks_table(space, entry, parameters):
    with torch.device("meta"):
        assert count.parameters(space.build(read(space, entry), CIFAR)) == parameters


@pytest.mark.parametrize(
    ("inputs", "channels", "expected"),
    [
        (((0,), (1,), (2,)), 16, [16, 16, 16]),
        (((0,), (0,), (1, 2), (3,)), 8, [8, 8, 8, 8]),
        (((0,), (0,), (1, 2)), 15, [8, 7, 15]),
        (((0,), (0,), (0,), (1, 2, 3)), 8, [3, 3, 2, 8]),
        (((0,), (1,), (1,), (2, 3)), 9, [5, 5, 4, 9]),
        (((0,), (1,), (0, 2), (1, 3)), 15, [8, 7, 7, 15]),
        (((0,),), 5, [5]),
    ],
)
def test_channels_are_shared_as_in_the_published_code(inputs, channels, expected):
    """The cases of nasbench/tests/model_builder_test.py."""
    assert vertex_channels(inputs, channels) == expected


def test_a_cell_adds_concatenates_and_truncates():
    """By hand: vertex 1 of 3 channels feeds vertex 2 of 2, and the projected input is added to the output."""
    torch.manual_seed(0)
    cell = CellModule((CONV3, POOL), ((0,), (0, 1), (0, 1, 2)), 4, 5)
    x = torch.randn(2, 4, 6, 6)
    first = cell.vertices[0](cell.projections["1"](x))
    second = torch.nn.functional.max_pool2d(cell.projections["2"](x) + first[:, :2], 3, 1, 1)
    expected = torch.cat((first, second), 1) + cell.projections["3"](x)
    torch.testing.assert_close(cell(x), expected)


@pytest.mark.parametrize("side", [1, 7, 8, 28])
def test_images_of_other_sizes_pass(space, side):
    network = space.build(space.from_text("NB101-best"), Task(1, side, side, 3), {"channels": 5, "cells": 1})
    assert network.eval()(torch.zeros(2, 1, side, side)).shape == (2, 3)


def test_sizes_that_cannot_be_built_are_refused_by_their_key(space):
    with pytest.raises(UsageError, match=r"space\.channels must be a whole number of at least 5, got 4"):
        NASBench101(channels=4)
    with pytest.raises(UsageError, match=r"trainer\.network\.cells must be a whole number of at least 1, got 0"):
        space.build(space.from_text("NB101-best"), CIFAR, {"cells": 0})


def test_a_search_trains_it_on_digits(space):
    recipe = Recipe(epochs=1, batch_size=64, train_images=200, network={"channels": 8, "cells": 1})
    evaluator = TrainingEvaluator(space, Digits(), recipe)
    result = search(
        space,
        lambda space, objective: RegularizedEvolution(space, objective, population_size=2, sample_size=1),
        evaluator,
        budget=Budget(trials=4),
    )
    assert [trial.status for trial in result.trials] == ["completed"] * 4
