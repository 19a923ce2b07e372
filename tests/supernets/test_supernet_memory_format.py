"""Supernets in the memory format that they take, and those with lazy modules."""

import pytest
from relaxed import Planted, Signs
from torch import nn

from nas.core import Objective
from nas.errors import UserError
from nas.evaluators.shared_weights import SharedWeights
from nas.strategies.darts import DARTS
from nas.supernets.gradient import GradientSearch
from nas.training.recipe import Recipe

MEMORY_FORMAT_WARNING = r"the supernet does not run in channels-last.*view size.*supernet\.channels_last=false"


class Seen(list):
    """A list that the check of a network does not restore."""


class Viewing(nn.Module):
    """A supernet after a convolution whose map it views; remembers the strides of images and weights."""

    def __init__(self, supernet):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 1)
        self.supernet = supernet
        self.seen = Seen()

    def forward(self, images, probs, run_all_operations=False):
        self.seen.append((len(images), images.stride(), self.stem.weight.stride()))
        x = self.stem(images).view(images.size(0), -1)[:, :4].view(images.shape)
        return self.supernet(x, probs, run_all_operations)


class Views(Planted):
    def supernet(self, task, network=None, partial_channels=1):
        self.viewing = Viewing(super().supernet(task, network))
        return self.viewing


SUPERNET = Recipe(epochs=1, batch_size=64, crop=0.0, flip=False, threads=1)


def test_a_supernet_falls_back_in_every_step_and_measure(tmp_path):
    space = Views()
    strategy = DARTS(space=space, objective=Objective(), epochs=1)
    with pytest.warns(UserWarning, match=MEMORY_FORMAT_WARNING) as caught:
        GradientSearch(space, Signs(), SUPERNET)(strategy, 0, 0, "cpu", lambda *_: None)
    assert len([w for w in caught if "contiguous" in str(w.message)]) == 1
    steps = [strides for size, *strides in space.viewing.seen if size > 4]
    assert {size for size, *_ in space.viewing.seen} == {
        2,
        4,
        64,
        256,
    }  # memory, check, steps, and the validation images
    assert set(map(tuple, steps)) == {((4, 4, 2, 1), (1, 1, 1, 1))}
    with pytest.warns(UserWarning, match=MEMORY_FORMAT_WARNING):
        SharedWeights(space, Signs(), SUPERNET).prepare("cpu")


class Lazy(Planted):
    def supernet(self, task, network=None, partial_channels=1):
        network = super().supernet(task, network)
        network.classifier = nn.LazyLinear(task.classes)
        return network


def test_a_supernet_with_lazy_modules_is_refused():
    with pytest.raises(
        UserError, match=r"the supernet of Lazy has lazy modules \(classifier.weight, classifier.bias\)"
    ):
        SharedWeights(Lazy(), Signs(), SUPERNET).prepare("cpu")
