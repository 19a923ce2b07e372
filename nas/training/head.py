"""The linear classifier of a pretrained network, fitted to features.

Logistic regression on standardised features with an L2 penalty, which cross-validation chooses. Fine-tuning starts from
it, since a random classifier would spoil the pretrained features in its first steps (Kumar et al., "Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022, https://arxiv.org/abs/2202.10054).
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from nas.data.images import Images
from nas.space.network import SupportsPretrainedFeatures
from nas.training.augment import plain_batch
from nas.training.memory_format import to_channels_last

BATCH = 50
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse weights C of the penalty that are tried."""
FOLDS = 5
FEW = 2000
"""Images up to which every fold is used; of more, one fold decides."""
MAX_MIRRORED = 2000
"""Images up to which their mirrored copies are used too, if these keep their labels."""
ITERATIONS = 200


def only_head_is_trained(network: nn.Module) -> bool:
    """Whether a network is pretrained and everything but its classifier is frozen."""
    if not isinstance(network, SupportsPretrainedFeatures):
        return False
    own = {id(parameter) for parameter in network.head.parameters()}
    return all(id(parameter) in own for parameter in network.parameters() if parameter.requires_grad)


def fit_head(network: nn.Module, train: Images) -> float:
    """Fit the classifier of a pretrained network to the features of some images.

    Args:
        network: Network with `SupportsPretrainedFeatures`, on the device of the images.
        train: Training images without augmentation.

    Returns:
        Mean cross-entropy on these images, nats.
    """
    assert isinstance(network, SupportsPretrainedFeatures)
    network.normalised_by(train.mean, train.std)
    features, labels = features_of(network, train), train.labels.cpu().numpy()
    if train.mirror and len(train) <= MAX_MIRRORED:
        mirrored = replace(train, pixels=train.pixels.flip(3))
        features, labels = np.concatenate((features, features_of(network, mirrored))), np.tile(labels, 2)
    images = np.arange(len(labels)) % len(train)
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    features = (features - mean) / spread
    weight, bias, loss = classifier(features, labels, network.head.out_features, images)
    weight = weight / spread
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight))
        network.head.bias.copy_(torch.from_numpy(bias - weight @ mean))
    return loss


@torch.no_grad()
def features_of(network: nn.Module, images: Images) -> np.ndarray:
    """Features of images, float64 (N, F)."""
    assert isinstance(network, SupportsPretrainedFeatures)
    network.eval()
    to_channels_last(network, images.pixels.device)
    parts = [network.features(plain_batch(images, k, k + BATCH)).float().cpu() for k in range(0, len(images), BATCH)]
    features: np.ndarray = torch.cat(parts).double().numpy()
    return features


def classifier(
    features: np.ndarray, labels: np.ndarray, classes: int, images: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (classes, F), biases (classes,) and mean training loss of a logistic regression.

    A class without an image gets the bias of the rarest thing possible, so that it is never predicted.

    Args:
        features: (N, F), standardised.
        labels: (N,), 0 to classes - 1.
        classes: Number of classes.
        images: (N,) image that each row is of, 0, 1, 2 …: copies of one are left out together; None: each is another.
    """
    from sklearn.metrics import log_loss

    if len(known := np.unique(labels)) < 2:  # a few of the images of a rare class
        bias = np.full(classes, -50.0)
        bias[known] = 0.0
        return np.zeros((classes, features.shape[1])), bias, 0.0
    strength = _best_strength(features, labels, np.arange(len(labels)) if images is None else images)
    fitted = _regression(strength, features, labels)
    weight, bias = np.zeros((classes, features.shape[1])), np.full(classes, -50.0)
    if len(known) == 2:  # scikit-learn has one row for two classes
        weight[known], bias[known] = np.outer((-0.5, 0.5), fitted.coef_[0]), (-0.5, 0.5) * fitted.intercept_
    else:
        weight[known], bias[known] = fitted.coef_, fitted.intercept_
    return weight, bias, float(log_loss(labels, fitted.predict_proba(features), labels=known))


def _best_strength(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> float:
    """The strength with the lowest loss on images left out; the second if they are too few to leave any out."""
    from sklearn.metrics import log_loss

    own = labels[np.unique(images, return_index=True)[1]]  # of each image
    counts = np.bincount(own)
    if (counts > 1).sum() < 2:
        return STRENGTHS[1]
    folds = min(FOLDS, int(counts[counts > 1].min()))
    fold_of = np.full(len(own), -1)  # a single image of a class is in no fold, and always trained on
    for label in np.flatnonzero(counts > 1):
        members = np.flatnonzero(own == label)
        fold_of[members] = np.arange(len(members)) % folds
    position = fold_of[images]
    used = range(folds) if len(own) <= FEW else range(1)
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for fold in used:
            held = position == fold
            fitted = _regression(strength, features[~held], labels[~held])
            loss += float(log_loss(labels[held], fitted.predict_proba(features[held]), labels=fitted.classes_))
        losses.append(loss)
    return STRENGTHS[int(np.argmin(losses))]


def _regression(strength: float, features: np.ndarray, labels: np.ndarray):  # type: ignore[no-untyped-def]
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the limit of iterations is part of the recipe
        return LogisticRegression(C=strength, max_iter=ITERATIONS, tol=1e-3).fit(features, labels)
