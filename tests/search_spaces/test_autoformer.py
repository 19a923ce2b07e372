"""AutoFormer's space of vision transformers: published sizes, parameters and multiply-adds."""

import math

import numpy as np
import pytest
import torch
from written import without_processes

from nas import Budget, search
from nas.core import Task
from nas.data.digits import Digits
from nas.errors import UsageError
from nas.evaluators.training import TrainingEvaluator
from nas.strategies.random import RandomSearch
from nas.training import count
from nas.training.recipe import Recipe
from search_spaces.autoformer import FAMILIES, AutoFormer

IMAGENET = Task(channels=3, height=224, width=224, classes=1000)
DIGITS = Task(channels=1, height=8, width=8, classes=10)
TINY = {"width": 0.125}
RELEASED = {
    "AutoFormer-T": AutoFormer(mlp_ratios=[3, 3.5, 4]),
    "AutoFormer-S": AutoFormer(family="small"),
    "AutoFormer-B": AutoFormer(family="base"),
}


@pytest.fixture(scope="module")
def space():
    return AutoFormer()


def test_the_size_is_the_published_one():
    """Section 3.2: "more than 1.7 x 10^16", which counts the decisions of layers that are not there."""
    spaces = [AutoFormer(family=family) for family in FAMILIES]
    assert f"{sum(math.prod(space.sizes) for space in spaces):.1e}" == "1.7e+16"
    assert [space.size for space in spaces] == [
        3 * (4**12 + 4**13 + 4**14),
        3 * (9**12 + 9**13 + 9**14),
        3 * (9**14 + 9**15 + 9**16),
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("AutoFormer-T", 5_867_944, 1_481_938_432),
        ("AutoFormer-S", 22_891_432, 5_161_400_832),
        ("AutoFormer-B", 53_691_688, 11_691_179_008),
    ],
)
def test_released_networks_have_the_parameters_that_the_released_code_counts(name, parameters, multiply_adds):
    """Its `get_sampled_params_numel`. Published: 5.7 (paper) or 5.8 (README), 22.9 and 53.7 million."""
    space = RELEASED[name]
    with torch.device("meta"):
        network = space.build(space.from_text(name), IMAGENET)
    assert count.parameters(network) == parameters
    assert count.flops(network, IMAGENET) == multiply_adds


def test_the_multiply_adds_of_the_tiny_one_are_published_without_those_of_relative_positions():
    """1.3 G. A product of every query and every weight with a vector for each pair of tokens is 13 % more."""
    space = RELEASED["AutoFormer-T"]
    with torch.device("meta"):
        network = space.build(space.from_text("AutoFormer-T"), IMAGENET)
    tokens, heads = 1 + 14**2, sum(layer.attention.heads for layer in network.layers)
    relative = 2 * tokens**2 * 64 * heads
    assert f"{(count.flops(network, IMAGENET) - relative) / 1e9:.1f}" == "1.3"


@pytest.mark.parametrize(
    ("family", "smallest", "largest"), [("tiny", 5.4, 10.5), ("small", 13.1, 34.8), ("base", 39.8, 76.9)]
)
def test_the_families_cover_their_ranges_of_parameters(family, smallest, largest):
    space = AutoFormer(family=family)
    last = tuple(size - 1 for size in space.sizes)
    with torch.device("meta"):
        counts = [count.parameters(space.build(ends, IMAGENET)) / 1e6 for ends in ((0,) * len(last), last)]
    assert counts == pytest.approx([smallest, largest], abs=0.05)


def test_relative_positions_are_numbered_by_the_distance_in_rows_and_columns(space):
    network = space.build(space.sample(np.random.default_rng(0)), Task(1, 4, 8, 3), {"width": 0.1, "patch": 2})
    assert network.rows.shape == (9, 9)  # the class token, then two rows of four patches
    assert network.rows[0].tolist() == network.columns[:, 0].tolist() == [0] * 9
    assert network.rows[1].tolist() == [0, *[15] * 4, *[16] * 4]
    assert network.columns[2].tolist() == [0, *[14, 15, 16, 17] * 2]


def test_the_classifier_sees_the_mean_of_the_patches_and_the_class_token_only_through_attention(space):
    network = space.build(space.sample(np.random.default_rng(0)), DIGITS, TINY).eval()
    seen = []
    network.norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    logits = network(torch.randn(2, 1, 8, 8))
    torch.testing.assert_close(logits, network.classifier(seen[0][:, 1:].mean(1)))


@pytest.mark.parametrize(("side", "patch"), [(224, 16), (128, 16), (64, 8), (32, 4), (28, 4), (16, 2), (8, 2), (1, 2)])
def test_small_images_have_smaller_patches(space, side, patch):
    task = Task(channels=1, height=side, width=side, classes=3)
    with torch.device("meta"):
        network = space.build((0,) * len(space.sizes), task, TINY)
    assert network.patches.kernel_size == (patch, patch)


def test_images_that_patches_do_not_divide_are_padded(space):
    network = space.build((0,) * len(space.sizes), Task(1, 5, 7, 3), {"width": 0.125, "patch": 4}).eval()
    images = torch.randn(2, 1, 5, 7)
    assert network.positions.shape[1] == 1 + 2 * 2
    assert network(images).shape == (2, 3)


def test_dropped_paths_rise_to_the_last_layer_and_only_in_training(space):
    network = space.build((0,) * len(space.sizes), DIGITS, TINY).eval()
    images = torch.randn(64, 1, 8, 8)
    plain = network(images)
    network.drop_path = 0.5
    torch.testing.assert_close(network(images), plain)
    probabilities = []
    for layer in network.layers:
        layer.register_forward_pre_hook(lambda _module, inputs: probabilities.append(inputs[3]))
    assert not torch.equal(network.train()(images), plain)
    assert probabilities == pytest.approx([0.5 * number / 11 for number in range(12)])


def test_text_is_short_and_has_only_the_layers_that_are_there():
    rng = np.random.default_rng(0)
    for space in RELEASED.values():
        for _ in range(100):
            architecture = space.sample(rng)
            text = space.to_text(architecture)
            assert space.from_text(text) == architecture
            assert text.count("h") == space.settings(architecture)["depth"]
            assert len(text) < 130


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a network of AutoFormer; expected text like '192/h3r3.5-h3r4-…' with 12 to 14 layers, or one of"),
        ("192/h3", "is not a network of AutoFormer"),
        (
            "200/" + "-".join(["h3r4"] * 12),
            "the embedding is 200, but space.family=tiny has 192, 216, 240; the families",
        ),
        ("192/" + "-".join(["h3r4"] * 11), "the number of layers is 11, but space.family=tiny has 12, 13, 14"),
        ("192/" + "-".join(["h5r4"] * 12), "the number of heads of layer 1 is 5, but space.family=tiny has 3, 4"),
        (
            "AutoFormer-T",
            r"the MLP ratio of layer 3 is 3, which is not among 3.5, 4; set space.mlp_ratios=\[3,3.5,4\]",
        ),
        ("AutoFormer-B", "the embedding is 576, but space.family=tiny has"),
    ],
)
def test_text_of_no_network_is_refused_with_what_to_write(space, text, message):
    with pytest.raises(UsageError, match=message):
        space.from_text(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "huge"}, "space.family must be one of tiny, small, base, got 'huge'"),
        ({"mlp_ratios": []}, r"space.mlp_ratios must be null or a list of numbers such as \[3.5, 4\], got \[\]"),
        ({"mlp_ratios": [4, 3.5]}, r"space.mlp_ratios must rise, got \[4, 3.5\]; write \[3.5, 4\]"),
        ({"mlp_ratios": [0.1]}, "each of space.mlp_ratios must be a number of at least 0.5 and at most 16, got 0.1"),
        ({"width": 0}, "space.width must be a number above 0 and at most 16, got 0"),
        ({"patch": 0}, "space.patch must be a whole number of at least 1, got 0"),
        ({"patch": 2.5}, "space.patch must be a whole number of at least 1, got 2.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        AutoFormer(**settings)


def test_sizes_of_the_trainer_replace_those_of_the_space(space):
    architecture = (0,) * len(space.sizes)
    network = space.build(architecture, DIGITS, {"width": None, "patch": 4})
    assert (network.token.shape[2], network.layers[0].attention.channels, network.positions.shape[1]) == (24, 8, 5)
    with pytest.raises(UsageError, match=r"trainer.network.patch must be a whole number of at least 1, got -1"):
        space.build(architecture, DIGITS, {"patch": -1})
    with pytest.raises(UsageError, match="patches of 16x16 pixels are larger than the images, 8x8; set a"):
        space.build(architecture, DIGITS, {"patch": 16})
    with pytest.raises(UsageError, match=r"trainer.network.depth is not a size of AutoFormer; it has width, patch"):
        space.build(architecture, DIGITS, {"depth": 1})


def test_digits_are_learnt(space):
    recipe = Recipe(
        epochs=5,
        batch_size=32,
        optimizer="adamw",
        lr=0.01,
        crop=0.0,
        flip=False,
        train_images=500,
        threads=1,
        network={"width": 0.125, "patch": 4},
    )
    result = search(space, RandomSearch, TrainingEvaluator(space, Digits(), recipe), budget=Budget(trials=1))
    assert result.best.metrics["valid_accuracy"] > 0.3


# torch takes half a minute to export a network of so many layers, whatever their size
@pytest.mark.parametrize("formats", ["python,state", pytest.param("python,onnx,torch_export", marks=pytest.mark.slow)])
def test_a_network_is_exported(nas, tmp_path, formats):
    network = ["space=autoformer", "space.family=small", "arch=AutoFormer-S", "space.width=0.05"]
    with without_processes():
        done = nas("export", *network, "data=digits", "images=4", f"format=[{formats}]", "out=won")
    assert done.returncode == 0, done.stderr
    assert "layer_13" in (tmp_path / "won" / "network.py").read_text()
