"""Once-for-All's MobileNetV3 space: published sizes, parameters and multiply-adds, and its supernet by slicing."""

import numpy as np
import pytest
import torch
import torchvision
from conftest import rows
from written import without_processes

from nas import Budget, search
from nas.core import Task
from nas.data.digits import Digits
from nas.errors import UsageError
from nas.evaluators.training import TrainingEvaluator
from nas.strategies.random import RandomSearch
from nas.training import count
from nas.training.recipe import Recipe
from search_spaces.mobilenetv3 import MobileNetV3
from search_spaces.mobilenetv3_network import halvings
from search_spaces.mobilenetv3_supernet import ElasticLayer

IMAGENET = Task(channels=3, height=224, width=224, classes=1000)
DIGITS = Task(channels=1, height=8, width=8, classes=10)
WITH_LARGE = [2.3, 2.5, 3, 4, 6]
TINY = {"width": 0.1}


@pytest.fixture(scope="module")
def space():
    return MobileNetV3()


def test_the_size_is_the_published_one(space):
    """Section 4.1: ((3 x 3)^2 + (3 x 3)^3 + (3 x 3)^4)^5, about 2e19."""
    assert space.size == (9**2 + 9**3 + 9**4) ** 5
    assert f"{space.size:.0e}" == "2e+19"


def test_mobilenetv3_large_is_torchvisions_network():
    """Parameters, multiply-adds, and logits with the same weights, on images that both halve five times."""
    space = MobileNetV3(expansions=WITH_LARGE)
    network = space.build(space.from_text("MobileNetV3-Large"), IMAGENET).eval()
    theirs = torchvision.models.mobilenet_v3_large().eval()
    assert count.parameters(network) == count.parameters(theirs) == 5_483_032
    assert count.flops(network, IMAGENET) == count.flops(theirs, IMAGENET) == 216_589_760
    state = theirs.state_dict().values()
    network.load_state_dict(dict(zip(network.state_dict(), state, strict=True)))
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-5  # torchvision has 1e-3, Once-for-All this
    images = torch.randn(2, 3, 128, 128)
    torch.testing.assert_close(network(images), theirs(images))


def test_mobilenetv3_large_has_the_published_multiply_adds():
    """Table 3 of Howard et al.: 219 million and 5.4 million parameters; the 1 % between is not in its layers."""
    space = MobileNetV3(expansions=WITH_LARGE)
    network = space.build(space.from_text("MobileNetV3-Large"), IMAGENET)
    assert count.flops(network, IMAGENET) == pytest.approx(219e6, rel=0.012)


def test_the_nearest_network_of_once_for_all_expands_three_layers_more(space):
    nearest = space.from_text("k3e4-k3e3/k5e3-k5e3-k5e3/k3e6-k3e3-k3e3-k3e3/k3e6-k3e6/k5e6-k5e6-k5e6")
    network = space.build(nearest, IMAGENET)
    assert count.parameters(network) == 5_509_328
    assert count.flops(network, IMAGENET) == 221_624_608


@pytest.mark.parametrize(
    ("name", "side", "parameters", "multiply_adds"),
    [("OFA-note8-22ms", 140, "4.3", "67"), ("OFA-note8-31ms", 152, "4.6", "101")],
)
def test_released_networks_of_once_for_all_have_their_published_figures(space, name, side, parameters, multiply_adds):
    """Table of its model zoo (millions); the options are those of mmrazor's configurations, converted from it."""
    task = Task(channels=3, height=side, width=side, classes=1000)
    network = space.build(space.from_text(name), task)
    assert f"{count.parameters(network) / 1e6:.1f}" == parameters
    assert f"{count.flops(network, task) / 1e6:.0f}" == multiply_adds


def test_half_of_the_width_rounds_channels_to_multiples_of_eight(space):
    network = space.build(space.from_text("OFA-note8-22ms"), DIGITS, {"width": 0.5})
    widths = [stage[0].project[0].out_channels for stage in network.stages]
    assert widths == [16, 24, 40, 56, 80]  # of 12, 20, 40, 56 and 80: never more than a tenth less


@pytest.mark.parametrize(
    ("side", "number", "last"),
    [
        (224, 5, 7),
        (128, 5, 4),
        (96, 4, 6),
        (32, 3, 4),
        (28, 3, 4),
        (16, 2, 4),
        (8, 1, 4),
        (7, 1, 4),
        (4, 0, 4),
        (1, 0, 1),
    ],
)
def test_small_images_are_halved_while_four_pixels_a_side_are_left(space, side, number, last):
    task = Task(channels=1, height=side, width=side, classes=3)
    network = space.build(space.from_text("OFA-note8-22ms"), task, TINY)
    maps = []
    network.stages[-1][-1].register_forward_hook(lambda _module, _inputs, output: maps.append(output.shape[2:]))
    with torch.no_grad():
        assert network(torch.zeros(2, 1, side, side)).shape == (2, 3)
    assert halvings(task) == number
    assert maps == [(last, last)]


def test_the_first_layers_are_those_that_skip_halving(space):
    network = space.build(space.from_text("OFA-note8-22ms"), Task(3, 32, 32, 10), TINY)
    strides = [network.stem[0].stride[0], *(stage[0].depthwise[0].stride[0] for stage in network.stages)]
    assert strides == [1, 1, 2, 2, 1, 2]


def test_text_is_short_and_has_only_the_layers_that_are_there(space):
    rng = np.random.default_rng(0)
    for _ in range(200):
        architecture = space.sample(rng)
        text = space.to_text(architecture)
        assert space.from_text(text) == architecture
        assert len(text) < 100
        assert text.count("k") == sum(value for name, value in space.settings(architecture).items() if "depth" in name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a network of MobileNetV3; expected 5 stages like 'k3e3-k3e3/k5e3"),
        ("DARTS_V2", "or one of OFA-note8-22ms, OFA-note8-31ms"),
        ("k3e3-k3e3/k3e3-k3e3/k3e3-k3e3/k3e3-k3e3", "is not a network of MobileNetV3"),
        (
            "k3e3/k3e3-k3e3/k3e3-k3e3/k3e3-k3e3/k3e3-k3e3",
            "the number of layers of stage 1 is 1; expected one of 2, 3, 4",
        ),
        ("k3e3-k9e3/k3e3-k3e3/k3e3-k3e3/k3e3-k3e3/k3e3-k3e3", "a kernel of stage 1 is 9; expected one of 3, 5, 7"),
        (
            "MobileNetV3-Large",
            r"an expansion of stage 3 is 2.5, which is not among 3, 4, 6; set space.expansions=\[2.3,2.5,3,4,6\]",
        ),
    ],
)
def test_text_of_no_network_is_refused_with_what_to_write(space, text, message):
    with pytest.raises(UsageError, match=message):
        space.from_text(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "space.width must be a number above 0 and at most 16, got 0"),
        ({"width": True}, "space.width must be a number above 0"),
        ({"expansions": []}, r"space.expansions must be null or a list of numbers such as \[3, 4, 6\], got \[\]"),
        ({"expansions": 6}, "space.expansions must be null or a list of numbers"),
        ({"expansions": [4, 3]}, r"space.expansions must rise, got \[4, 3\]; write \[3, 4\]"),
        ({"expansions": [3, 3]}, r"space.expansions must rise, got \[3, 3\]; write \[3\]"),
        ({"expansions": ["3"]}, "each of space.expansions must be a number of at least 1 and at most 12, got '3'"),
        ({"expansions": [0.5, 3]}, "each of space.expansions must be a number of at least 1 and at most 12, got 0.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        MobileNetV3(**settings)


def test_sizes_of_the_trainer_replace_the_width(space):
    architecture = space.from_text("OFA-note8-22ms")
    assert space.build(architecture, DIGITS, {"width": None}).classifier.in_features == 320
    with pytest.raises(UsageError, match=r"trainer.network.width must be a number above 0 and at most 16, got -1"):
        space.build(architecture, DIGITS, {"width": -1})
    with pytest.raises(UsageError, match=r"trainer.network.depth is not a size of MobileNetV3; it has width"):
        space.build(architecture, DIGITS, {"depth": 1})


@pytest.fixture(scope="module")
def supernet(space):
    """A supernet whose weights, matrices and normalisations are all unlike their first values."""
    torch.manual_seed(0)
    supernet = space.supernet(DIGITS, TINY).double()
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return supernet


def sliced(layer, target):
    """The weights of a layer of the supernet that a layer of a final network has, by the paper's rules."""
    side, middle = target.depthwise[0].kernel_size[0], target.depthwise[0].in_channels
    kernel = layer.depthwise.weight[:, 0]
    for large, small in ((7, 5), (5, 3)):
        if side < large:
            centre = kernel[:, 1:-1, 1:-1].flatten(1)
            kernel = (centre @ layer.matrices[f"{large}_to_{small}"].T).view(-1, small, small)
    weights = {
        "expand.0.weight": layer.expand.weight[:middle],
        "depthwise.0.weight": kernel[:middle, None],
        "project.0.weight": layer.project.weight[:, :middle],
    }
    for name, norm in (
        ("expand", layer.expand_norm),
        ("depthwise", layer.depthwise_norm),
        ("project", layer.project_norm),
    ):
        channels = len(target.get_submodule(name)[1].weight)
        weights |= {f"{name}.1.weight": norm.weight[:channels], f"{name}.1.bias": norm.bias[:channels]}
    if layer.squeeze is not None:
        reduced = target.squeeze.reduce.out_channels
        weights |= {
            "squeeze.reduce.weight": layer.squeeze.reduce.weight[:reduced, :middle],
            "squeeze.reduce.bias": layer.squeeze.reduce.bias[:reduced],
            "squeeze.expand.weight": layer.squeeze.expand.weight[:middle, :reduced],
            "squeeze.expand.bias": layer.squeeze.expand.bias[:middle],
        }
    return weights


@pytest.mark.parametrize("text", ["OFA-note8-22ms", "OFA-note8-31ms", "/".join(["k7e6-k7e6-k7e6-k7e6"] * 5)])
def test_a_final_network_with_slices_of_the_supernets_weights_computes_what_it_does(space, supernet, text):
    architecture = space.from_text(text)
    final = space.build(architecture, DIGITS, TINY).double().train()
    final.feature_mix[2].p = 0.0
    weights = {k: v for k, v in supernet.state_dict().items() if not k.startswith("stages.")}
    final.load_state_dict(weights, strict=False)
    for stage, own in zip(supernet.stages, final.stages, strict=True):
        for layer, target in zip(stage, own, strict=False):
            missing = target.load_state_dict(sliced(layer, target), strict=False).missing_keys
            assert all("running" in name or "tracked" in name for name in missing)
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    probs = {name: values.double() for name, values in space.relax(architecture).items()}
    torch.testing.assert_close(supernet(images, probs), final(images))


def test_a_new_supernet_crops_the_centre_of_its_kernels():
    layer = MobileNetV3().supernet(DIGITS, TINY).stages[0][0]
    assert isinstance(layer, ElasticLayer)
    assert torch.equal(layer._kernel(5), layer.depthwise.weight[:, :, 1:-1, 1:-1])
    assert torch.equal(layer._kernel(3), layer.depthwise.weight[:, :, 2:-2, 2:-2])


def test_a_mixture_of_depths_is_the_weighted_sum_of_what_the_depths_compute(space, supernet):
    probs = {name: values.double() for name, values in space.relax(space.from_text("OFA-note8-22ms")).items()}
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    outputs = []
    handle = supernet.final_expand.register_forward_pre_hook(lambda _module, inputs: outputs.append(inputs[0]))
    for row in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]):
        probs["depth"][4] = torch.tensor(row)
        supernet(images, probs)
    handle.remove()
    *single, mixed = outputs
    torch.testing.assert_close(mixed, 0.2 * single[0] + 0.3 * single[1] + 0.5 * single[2])


def test_every_probability_of_a_mixture_has_a_gradient(space, supernet):
    torch.manual_seed(0)
    probs = {
        name: torch.rand(shape, dtype=torch.float64).requires_grad_() for name, shape in space.alpha_shapes.items()
    }
    supernet(torch.randn(5, 1, 8, 8, dtype=torch.float64), probs, run_all_operations=True).square().sum().backward()
    for name, values in probs.items():
        assert (values.grad != 0).all(), name


def test_a_layer_without_options_is_skipped_and_a_stage_without_depths_is_zero(space, supernet):
    probs = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in space.alpha_shapes.items()}
    logits = supernet(torch.randn(5, 1, 8, 8, dtype=torch.float64), probs)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))


def test_digits_are_learnt(space):
    recipe = Recipe(epochs=4, batch_size=32, lr=0.05, crop=0.0, flip=False, train_images=600, threads=1, network=TINY)
    result = search(space, RandomSearch, TrainingEvaluator(space, Digits(), recipe), budget=Budget(trials=1))
    assert result.best.metrics["valid_accuracy"] > 0.3


SUPERNET = ["supernet.network={width: 0.1}", "supernet.threads=1", "supernet.train_images=128",
            "supernet.valid_images=64"]  # fmt: skip
TRAINER = ["trainer.network={width: 0.1}", "trainer.epochs=1", "trainer.train_images=64"]


@pytest.mark.parametrize(
    "more",
    [
        ["experiment=spos", "supernet.epochs=1", "strategy.population_size=2", "strategy.sample_size=1"],
        ["strategy=gdas", "strategy.epochs=1", *TRAINER],
    ],
    ids=["spos", "gdas"],
)
def test_a_supernet_searches_it_by_command(nas, more):
    result = nas("search", "space=mobilenetv3", "data=digits", *SUPERNET, *more, "budget.trials=1", "run=r")
    assert result.returncode == 0, result.stderr
    (trial,) = rows(nas)
    assert trial["status"] == "completed"


# torch takes half a minute to export a network of so many layers, whatever their size
@pytest.mark.parametrize("formats", ["python,state", pytest.param("python,onnx,torch_export", marks=pytest.mark.slow)])
def test_a_network_is_exported(nas, tmp_path, formats):
    network = ["space=mobilenetv3", "arch=OFA-note8-22ms", "space.width=0.1"]
    with without_processes():
        done = nas("export", *network, "data=digits", "images=4", f"format=[{formats}]", "out=won")
    assert done.returncode == 0, done.stderr
    assert "stage_5" in (tmp_path / "won" / "network.py").read_text()
