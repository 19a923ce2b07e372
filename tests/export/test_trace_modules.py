"""Modules as people nest, share and call them are traced: the source has the same modules and computes the same."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from written import same_as_source

from nas.export.source import source

IMAGE = (3, 8, 8)


class Counts(nn.Module):
    """A buffer that also changes in evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("number", torch.zeros(()))

    def forward(self, x):
        self.number += 1
        return x.mean((2, 3)) + 0 * self.number


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(24, 5, batch_first=True, bidirectional=True, bias=False)
        self.gru = nn.GRU(10, 4)
        self.rnn = nn.RNN(4, 4, nonlinearity="relu", batch_first=True)

    def forward(self, x):
        y, (hidden, cell) = self.lstm(x.permute(0, 2, 1, 3).flatten(2))
        z, _ = self.gru(y.transpose(0, 1))
        w, last = self.rnn(z.transpose(0, 1))
        return torch.cat([w[:, -1], hidden[0], cell[1], last[-1]], 1)


class Hands(nn.Module):
    """Takes keywords and dictionaries, and returns them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x, *, scale=1.0, mask=None, features=None):
        y = self.conv(x) * scale
        if mask is not None:
            y = y * mask
        if features is not None:
            y = y + features["a"][0]
        return {"out": y, "features": (y, None), "count": 3}


class Dictionaries(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Hands(), Hands()

    def forward(self, x):
        a = self.first(x, scale=2.0)
        b = self.second(a["out"], mask=x > 0, features={"a": a["features"], "b": 1})
        c = self.first(b["out"])
        return (c["out"] + b["features"][0]).mean((2, 3)) * c["count"]


class Dense(nn.Module):
    """Lists that grow."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Joined(3 + 2 * index) for index in range(3)])

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1).mean((2, 3))


class Joined(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 1)

    def forward(self, features):
        return self.conv(torch.cat(features, 1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight
        self.c = self.a

    def forward(self, x):
        return self.c(self.b(self.a(x.mean((2, 3)))))


class Transforms(nn.Module):
    def __init__(self, *, batch_first):
        super().__init__()
        self.project = nn.Linear(3, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, norm_first=batch_first, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, x):
        y = x.flatten(2).permute(0, 2, 1) if self.batch_first else x.flatten(2).permute(2, 0, 1)
        y = self.encoder(self.project(y))
        attended, weights = self.attention(y, y, y)
        return (y + attended).mean(1 if self.batch_first else 0) + weights.mean((1, 2))[:, None]


class Squeezes(nn.Module):
    def __init__(self):
        super().__init__()
        self.excite = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 3, 1))
        self.gate, self.last = nn.Sigmoid(), nn.Tanh()

    def forward(self, x):
        return self.last(x * self.gate(self.excite(x))).mean((2, 3))


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.linear = nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(3)

    def forward(self, x):
        return self.linear(self.norm(self.conv(x)).flatten(1))


class Parametrized(nn.Module):
    """Weight normalisations, old and new, and an orthogonal weight."""

    def __init__(self):
        super().__init__()
        functions = nn.utils.parametrizations
        self.a = functions.weight_norm(nn.Conv2d(3, 4, 3))
        self.b = functions.spectral_norm(nn.Conv2d(4, 4, 1))
        self.c = functions.orthogonal(nn.Linear(4, 4))
        self.d = nn.utils.spectral_norm(nn.Linear(4, 4))

    def forward(self, x):
        return self.d(self.c(self.b(self.a(x)).mean((2, 3))))


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv.register_forward_hook(lambda _module, _args, outcome: outcome + 1)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class CreatesModules(nn.Module):
    """Modules created in the forward, and numbers from `math` and NumPy."""

    def forward(self, x):
        x = x * np.float64(2) + float(np.sqrt(x.shape[1])) + math.sqrt(x.size(1))
        return nn.Softmax(dim=1)(nn.ReLU()(x).mean((2, 3)))


class Plain(nn.Module):
    """Tensors that are neither parameters nor buffers."""

    def __init__(self):
        super().__init__()
        self.mean, self.order = torch.randn(1, 3, 1, 1), torch.tensor([2, 0, 1])
        self.listed = [torch.full((3,), 0.5)]

    def forward(self, x):
        return (x - self.mean)[:, self.order].mean((2, 3)) * self.listed[0] * torch.tensor([1.0, 2.0, 3.0])


class Drops(nn.Module):
    """Returns its input in evaluation."""

    def forward(self, x):
        return x * torch.rand(1) if self.training else x


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 3, 1), Drops()

    def forward(self, x):
        return (self.drop(self.conv(x)) + self.drop(x) + x).mean((2, 3))


class ManyWays(nn.Module):
    """One module with several traces, depending on its arguments and on the size."""

    def __init__(self):
        super().__init__()
        self.head = Head()

    def forward(self, x):
        return self.head(x) + self.head(F.avg_pool2d(x, 2)) + self.head(x, double=True)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x, *, double=False):
        y = self.conv(x) * 2 if double else self.conv(x)
        return y.mean((2, 3)) if x.shape[2] > 4 else y.amax((2, 3))


class Parent(nn.Module):
    """A child with its parent's weight in a list and a mask set by its parent."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(3, 1, 1))
        self.child = Child(self.gain)

    def forward(self, x):
        self.child.mask = x > 0
        return self.child(x * self.gain).mean((2, 3))


class Child(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gains = [gain]
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x) * self.gains[0] * self.mask


TRACED_NETWORKS = [
    Counts, Recurrent, Dictionaries, Dense, Tied, Squeezes, Lazy, Parametrized, Hooked, CreatesModules, Plain, Residual,
    ManyWays, Parent,
]  # fmt: skip


@pytest.mark.parametrize("kind", TRACED_NETWORKS, ids=lambda kind: kind.__name__)
def test_it_is_traced(kind):
    torch.manual_seed(0)
    same_as_source(kind().eval(), IMAGE)


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformers_are_traced(batch_first):
    torch.manual_seed(0)
    same_as_source(Transforms(batch_first=batch_first).eval(), IMAGE)


def test_the_source_calls_modules_like_the_original():
    """With lists and dictionaries, and parametrized."""
    assert "self.conv(torch.cat(features, 1))" in source(Dense(), torch.zeros(2, *IMAGE)).text
    text = source(Dictionaries(), torch.zeros(2, *IMAGE)).text
    assert "return {" + "'out': x" in text
    assert "weight_norm(nn.Conv2d(3, 4, 3))" in source(Parametrized(), torch.zeros(2, *IMAGE)).text
