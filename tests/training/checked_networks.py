"""Networks for the tests of the check before a training."""

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from nas.core import Task
from nas.training.recipe import Recipe

TASK = Task(1, 8, 8, 10)
RECIPE = Recipe(epochs=1, threads=1)


class Net(nn.Module):
    """A convolution, a mean and a linear layer; `answer` makes of its features and logits what is returned."""

    def __init__(self, answer=lambda net, features, logits: logits, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.head = nn.Linear(32, classes)
        self.answer = answer

    def features(self, x):
        return F.relu(self.stem(x)).mean((2, 3))

    def forward(self, x):
        features = self.features(x)
        return self.answer(self, features, self.head(features))


class Norm(nn.Module):
    """Running statistics: as plain tensors, a non-persistent or a persistent buffer, or numbers."""

    def __init__(self, channels, how="plain"):
        super().__init__()
        self.how = how
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))
        if how == "plain":
            self.mean = torch.zeros(1, channels, 1, 1)
        elif how == "number":
            self.mean = 0.0
        elif how == "list":
            self.mean = [torch.zeros(1, channels, 1, 1)]
        else:
            self.register_buffer("mean", torch.zeros(1, channels, 1, 1), persistent=how == "persistent")

    def forward(self, x):
        mean = self.mean[0] if self.how == "list" else self.mean
        if self.training:
            batch = x.mean((0, 2, 3), keepdim=True).detach()
            mean = 0.9 * mean + 0.1 * (batch.mean().item() if self.how == "number" else batch)
            if self.how == "list":
                self.mean[0] = mean
            else:
                self.mean = mean
        return self.gain * (x - mean)


def normed(how):
    network = Net()
    network.stem = nn.Sequential(network.stem, Norm(32, how))
    return network


def generators():
    """States of the global random generators."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
