"""The check of a network before its training: what it refuses, and where it is asked."""

from types import MappingProxyType

import pytest
import torch
import torch.nn.functional as F
from checked_networks import RECIPE, TASK, Net
from conftest import ToySpace
from relaxed import Planted, Signs
from torch import nn

from nas import Budget, SearchSpace, search
from nas.core import Objective, Task
from nas.data.digits import Digits
from nas.errors import UsageError, UserError
from nas.evaluators.shared_weights import SharedWeights
from nas.evaluators.training import TrainingEvaluator
from nas.executors.inline import Inline
from nas.space.network import SupportsAuxiliaryHead
from nas.strategies.darts import DARTS as Darts
from nas.strategies.random import RandomSearch
from nas.studies.tabulation import tabulate
from nas.supernets.gradient import GradientSearch
from nas.training.architecture import count_architecture
from nas.training.check import BadNetwork, check_network
from nas.training.fit import TrainingFailed
from nas.training.recipe import Recipe


@pytest.fixture(scope="module")
def images():
    return Digits().split().train


class Squeezed(Net):
    def features(self, x):
        return F.adaptive_avg_pool2d(self.stem(x), 1).squeeze()


def half(net, features, logits):
    return logits.half()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Net(lambda net, x, y: (x, y)),
            "returned a tuple of 2 tensors (4, 32), (4, 10) in training mode; expected a tensor (4, 10): return "
            "only the logits",
        ),
        (Net(lambda net, x, y: (y, None)), "a tuple of a tensor (4, 10), None in training mode; expected a tensor"),
        (Net(lambda net, x, y: (y, y)), "or derive from nas.space.SupportsAuxiliaryHead"),
        (Net(lambda net, x, y: {"logits": y}), "returned a dict with 'logits' in training mode"),
        (Net(lambda net, x, y: None), "returned None in training mode"),
        (Net(classes=100), "a tensor (4, 100) in training mode; expected a tensor (4, 10): build must take"),
        (Net(lambda net, x, y: y.T), "returned a tensor (10, 4) in training mode"),
        (Net(lambda net, x, y: y[:, :, None]), "a tensor (4, 10, 1) in training mode; expected a tensor (4, 10)"),
        (Net(lambda net, x, y: y.mean()), "returned a tensor () in training mode"),
        (Net(lambda net, x, y: y if net.training else (y, x)), "(4, 10), (4, 32) in evaluation mode"),
        (Squeezed(), "a tensor (10,) in evaluation mode for a batch of one image; expected a tensor (1, 10)"),
        (Net(half), "returned float16 logits in training mode; expected float32"),
        (Net(lambda net, x, y: y.argmax(1, keepdim=True).expand(-1, 10)), "returned int64 logits"),
        (Net(lambda net, x, y: torch.complex(y, y)), "returned complex64 logits"),
        (Net(lambda net, x, y: y.detach()), "depend on none of its parameters in training mode"),
        (nn.Sequential(nn.Flatten(), nn.Flatten()), "has no trainable parameters"),
        ({"layer": nn.Linear(64, 10)}, "build returned a dict with 'layer'; expected a torch.nn.Module"),
        (None, "build returned None; expected a torch.nn.Module"),
    ],
)  # fmt: skip
def test_what_does_not_give_logits_is_one_sentence(images, network, message):
    with pytest.raises(BadNetwork) as refused:
        check_network(network, images, TASK, RECIPE)
    assert message in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.kind == "bad_network"


def test_a_network_that_needs_larger_images_is_reported_with_the_size_of_the_images(images):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(4, 10))
    with pytest.raises(BadNetwork, match=r"fails in training mode on 4 images of 1x8x8: RuntimeError: .*too small"):
        check_network(network, images, TASK, RECIPE)


class FailsIn(Net):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, x):
        if self.mode == ("training" if self.training else "evaluation"):
            raise KeyError("gone")
        return super().forward(x)


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_a_forward_that_raises_is_reported_with_mode_and_line(images, mode):
    with pytest.raises(
        BadNetwork, match=rf"fails in {mode} mode on 4 images of 1x8x8: KeyError: 'gone' \(test_network_check.py:"
    ):
        check_network(FailsIn(mode), images, TASK, RECIPE)


def test_an_error_inside_a_layer_of_torch_names_the_module(images):
    network = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Linear(7, 10)))
    with pytest.raises(BadNetwork, match=r"RuntimeError: mat1 and mat2 .* \(in 1\.1, a Linear\)"):
        check_network(network, images, TASK, RECIPE)


def test_a_build_without_the_network_argument_is_reported_plainly():
    class Old(ToySpace):
        def build(self, architecture, task):
            return nn.Flatten()

    with pytest.raises(
        UsageError, match=r"Old.build takes \(architecture, task\); expected \(architecture, task, netw"
    ):
        count_architecture(Old(), (0,) * 6, TASK, RECIPE)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_logits_that_are_not_finite_before_the_first_step_are_reported(images, value, word):
    with pytest.raises(
        TrainingFailed, match=f"logits of the network are {word} for the first training images"
    ) as failed:
        check_network(Net(lambda net, x, y: y + value), images, TASK, RECIPE)
    assert failed.value.kind == "not_finite"


def test_a_declared_auxiliary_head_gives_a_pair_in_training_mode_only(images):
    class Headed(Net, SupportsAuxiliaryHead):
        def __init__(self, answer):
            super().__init__(answer)
            self.auxiliary = nn.Linear(32, 10)

    check_network(Headed(lambda net, x, y: (y, net.auxiliary(x)) if net.training else y), images, TASK, RECIPE)
    for answer, message in (
        (
            lambda net, x, y: y,
            r"returned a tensor \(4, 10\) in training mode; expected a pair of tensors \(4, 10\)",
        ),
        (lambda net, x, y: (y, x), r"a tuple of 2 tensors \(4, 10\), \(4, 32\) in training mode; expected a pair"),
        (lambda net, x, y: (y, net.auxiliary(x)), r"\(4, 10\), \(4, 10\) in evaluation mode; expected a tensor"),
    ):
        with pytest.raises(BadNetwork, match=message):
            check_network(Headed(answer), images, TASK, RECIPE)


def test_a_network_that_was_given_before_is_refused(images):
    network = Net()
    check_network(network, images, TASK, RECIPE)
    with pytest.raises(BadNetwork, match=r"whose parameter stem.weight belongs to an earlier one"):
        check_network(network, images, TASK, RECIPE)
    other = Net()
    other.head = network.head
    with pytest.raises(BadNetwork, match=r"whose parameter head.weight belongs to an earlier one"):
        check_network(other, images, TASK, RECIPE)
    frozen = Net()
    frozen.backbone = nn.Linear(3, 3).requires_grad_(False)
    check_network(frozen, images, TASK, RECIPE)
    another = Net()
    another.backbone = frozen.backbone
    check_network(another, images, TASK, RECIPE)


def test_what_only_works_in_contiguous_memory_is_left_to_the_training(images):
    class Viewing(Net):
        def forward(self, x):
            return self.head(self.stem(x).view(x.size(0), -1)[:, :32])

    assert check_network(Viewing(), images, TASK, RECIPE).lost == ()


def test_bfloat16_logits_and_more_classes_than_images_pass(images):
    check_network(Net(), images, TASK, Recipe(epochs=1, precision="bf16"))
    check_network(Net(classes=3), images, Task(1, 8, 8, 3), RECIPE)
    check_network(Net(classes=4), images, Task(1, 8, 8, 4), RECIPE)


def test_lazy_modules_take_their_sizes_first(images):
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(32), nn.Linear(32, 10))
    assert check_network(network, images, TASK, RECIPE).parameters == 4
    assert network[1].weight.shape == (32, 64)


# --- where it is asked ---------------------------------------------------------------------------------------------


class Spoilt(SearchSpace):
    """Of the first option the network returns its features too."""

    choices = MappingProxyType({"answer": ("both", "logits")})

    def build(self, architecture, task, network=None):
        both = architecture[0] == 0
        return Net(lambda net, x, y: (x, y) if both else y)


def test_in_a_search_a_bad_network_fails_its_trial():
    recipe = Recipe(epochs=1, train_images=20, valid_images=20, threads=1)
    evaluator = TrainingEvaluator(Spoilt(), Digits(), recipe)
    result = search(Spoilt(), RandomSearch, evaluator, budget=Budget(trials=4), seed=1, duplicates="retrain")
    kinds = {trial.text: (trial.status, trial.error_kind) for trial in result.trials}
    assert kinds == {"answer=both": ("failed", "bad_network"), "answer=logits": ("completed", None)}
    failed = next(trial for trial in result.trials if not trial.completed)
    assert failed.error.startswith("the network returned a tuple of 2 tensors (4, 32), (4, 10) in training mode")


def test_a_tabulation_ends_before_it_trains_a_bad_network(tmp_path):
    recipe = Recipe(epochs=1, train_images=20, valid_images=20, threads=1)
    with pytest.raises(UserError, match=r"arch=answer=both: the network returned a tuple of 2 tensors"):
        tabulate(Spoilt(), {}, Digits(), recipe, path=tmp_path / "a.journal", executor=Inline(), report=lambda *_: None)


class Relaxed(Planted):
    def supernet(self, task, network=None, partial_channels=1):
        supernet = super().supernet(task, network)
        forward = supernet.forward
        supernet.forward = lambda images, probs, run_all_operations=False: (
            images,
            forward(images, probs, run_all_operations),
        )
        return supernet


def test_a_supernet_that_returns_something_else_is_refused_before_the_first_step():
    recipe = Recipe(epochs=1, batch_size=64, crop=0.0, flip=False, threads=1)
    strategy = Darts(space=Relaxed(), objective=Objective(), epochs=1)
    message = r"the supernet returned a tuple of 2 tensors \(4, 1, 2, 2\), \(4, 2\) in training mode; expected a tensor"
    with pytest.raises(UserError, match=f"the search on the supernet failed: {message}"):
        GradientSearch(Relaxed(), Signs(), recipe)(strategy, 0, 0, "cpu", lambda *_: None)
    with pytest.raises(UserError, match=f"the training of the shared weights failed: {message}"):
        SharedWeights(Relaxed(), Signs(), recipe).prepare("cpu")
