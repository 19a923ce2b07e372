"""A linear classifier on frozen features: fitted, not trained step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.core import Task
from nas.data.images import Images
from nas.space import SearchSpace, SupportsPretrainedFeatures
from nas.training import head
from nas.training.architecture import TrainingImages, train_architecture
from nas.training.head import classifier, only_head_is_trained
from nas.training.recipe import Recipe

TASK = Task(channels=1, height=4, width=4, classes=3)


class Brightness(nn.Module, SupportsPretrainedFeatures):
    """A body without anything to learn: rows of pixels."""

    def __init__(self, tuned):
        super().__init__()
        self.body = nn.Linear(16, 16)
        nn.init.eye_(self.body.weight)
        nn.init.zeros_(self.body.bias)
        self.body.requires_grad_(tuned)
        self.head = nn.Linear(16, 3)

    def normalised_by(self, mean, std):
        self.seen = mean, std

    def features(self, images):
        return self.body(images.flatten(1))

    def forward(self, images):
        return self.head(self.features(images))


class Space(SearchSpace):
    choices = {"tuned": ("no", "yes")}

    def build(self, architecture, task, network=None):
        return Brightness(bool(architecture[0]))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pixels = rng.normal(60 + 60 * labels[:, None, None, None], 15, (120, 1, 4, 4)).clip(0, 255).astype(np.uint8)
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels), (0.5,), (0.25,))


def trained(architecture, images, **more):
    parts = TrainingImages(TASK, images.take(torch.arange(60)), images.take(torch.arange(60, 120)))
    device, curve, outputs = torch.device("cpu"), [], []
    found = train_architecture(
        Space(), architecture, parts, Recipe(epochs=2, batch_size=16, lr=0.001), seed=0, device=device,
        report=curve.append, outputs=outputs, **more,
    )  # fmt: skip
    return found, curve, outputs


def test_a_frozen_network_is_fitted_in_one_step(images):
    found, curve, outputs = trained((0,), images)
    assert len(curve) == 1
    assert found.metrics["valid_accuracy"] > 0.95
    assert torch.equal(found.network.body.weight, torch.eye(16))
    assert found.counts["parameters"] == 16 * 16 + 16 + 16 * 3 + 3
    logits = torch.cat(outputs)
    assert (logits.argmax(1) == images.labels[60:]).float().mean().item() == pytest.approx(
        found.metrics["valid_accuracy"]
    )


def test_a_tuned_network_starts_from_the_fitted_classifier(images):
    found, curve, _ = trained((1,), images)
    assert len(curve) == 2
    assert curve[0]["valid_accuracy"] > 0.95
    assert not torch.equal(found.network.body.weight, torch.eye(16))


def test_mirrored_copies_are_used_where_they_keep_their_label(images, monkeypatch):
    seen = []
    monkeypatch.setattr(
        head, "classifier", lambda features, *more: seen.append(len(features)) or classifier(features, *more)
    )
    for mirror in (False, True):
        head.fit_head(Brightness(False), replace(images, mirror=mirror))
    assert seen == [120, 240]


def test_what_is_frozen_is_seen():
    assert only_head_is_trained(Brightness(False))
    assert not only_head_is_trained(Brightness(True))
    assert not only_head_is_trained(nn.Linear(2, 2))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_class_without_images_is_never_predicted(classes):
    features = np.random.default_rng(0).normal(size=(40, 4))
    labels = (features[:, 0] > 0).astype(int)
    weight, bias, loss = classifier(features, labels, classes)
    predicted = (features @ weight.T + bias).argmax(1)
    assert (predicted == labels).mean() > 0.85
    assert loss < np.log(2)


def test_images_of_one_class_are_labelled_with_it():
    weight, bias, loss = classifier(np.ones((3, 2)), np.array([1, 1, 1]), 3)
    assert (np.ones((1, 2)) @ weight.T + bias).argmax() == 1
    assert loss == 0.0


def test_a_class_with_a_single_image_is_fitted_too():
    features = np.array([[0.0], [1.0], [1.1], [0.9]])
    weight, bias, _ = classifier(features, np.array([0, 1, 1, 1]), 2)
    assert (features @ weight.T + bias)[2].argmax() == 1
