"""Forwards as people write them are traced: the source computes the same for 1, 2 and 16 images, or names a line."""

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from written import same_as_source

from nas import UserError
from nas.export.source import source

IMAGE = (3, 8, 8)


class InPlaceAgain(nn.Module):
    """The input of an in-place activation is used again, here and after a sequence."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.SiLU(inplace=True), nn.Conv2d(3, 3, 1))

    def forward(self, x):
        x = self.first(x)
        y = self.relu(x)
        return (x + y * 2 + self.body(x) - x / 3).mean((2, 3))


class WritesIntoTensors(nn.Module):
    def forward(self, x):
        x = x * 2
        y = F.relu(x, inplace=True)
        x += 1
        first = x[:, 0]
        first.mul_(3)
        x[:, 1] = 0
        x.clamp_(max=2)
        mask = torch.zeros(x.shape[0], 3, 1, 1, device=x.device)
        mask[:, 2:] = 1
        return (x * y + mask).mean((2, 3))


class Counts(nn.Module):
    """A buffer that also changes in evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("number", torch.zeros(()))

    def forward(self, x):
        self.number += 1
        return x.mean((2, 3)) + 0 * self.number


class Folds(nn.Module):
    """Equal sizes in a tuple, which must not become one number."""

    def __init__(self):
        super().__init__()
        self.fold = nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (8, 8)), nn.Unflatten(1, (3, 1)))
        self.norm = nn.LayerNorm((8, 8), elementwise_affine=False)

    def forward(self, x):
        return self.norm(self.fold(x)[:, :, 0]).sum((2, 3))


class SequenceFirst(nn.Module):
    """The batch becomes the second dimension, and a factor of the first one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, x):
        n, b, c = (y := x.flatten(2).permute(2, 0, 1)).shape
        y = self.linear(y.reshape(n * b, c)).view(n, b, 5)
        return y.mean(0) / b * x.size(0) + 1 / len(x) - 1 / b


class Windows(nn.Module):
    """As in a Swin transformer: windows are temporarily in the batch dimension."""

    def forward(self, x):
        b, c, h, w = x.shape
        y = torch.roll(x, (1, 1), (2, 3)).view(b, c, h // 4, 4, w // 4, 4)
        y = y.permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        windows = y.shape[0] // b
        mask = torch.zeros(windows, 16, 1)
        mask[0] = 1
        y = (y.view(b, windows, 16, c) + mask).view(-1, 16, c)
        return y.view(y.shape[0] // windows, windows, 16, c).mean((1, 2))


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


class Asks(nn.Module):
    """`isinstance`, loops over tensors, and the results of `chunk` and `unbind`."""

    def forward(self, x):
        assert isinstance(x, torch.Tensor)
        if not isinstance(x, torch.Tensor):
            raise TypeError
        total = 0
        for part in x.transpose(0, 1):
            total = total + part.mean((1, 2))
        first, second, third = x.chunk(3, 1)
        columns = [total, first.amax((1, 2, 3)), second.mean((1, 2, 3)), x.unbind(1)[0][:, 0, 0], third.sum((1, 2, 3))]
        return torch.stack(columns, 1)


class Embeds(nn.Module):
    """Parameters used directly and in lists, and tensors created in the forward."""

    def __init__(self):
        super().__init__()
        self.position = nn.Embedding(64, 3)
        self.token = nn.Parameter(torch.randn(1, 1, 3))
        self.scales = nn.ParameterList([nn.Parameter(torch.randn(3)) for _ in range(2)])
        self.shifts = nn.ParameterDict({"a": nn.Parameter(torch.randn(3))})

    def forward(self, x):
        b = x.shape[0]
        y = x.flatten(2).transpose(1, 2)
        y = y + self.position(torch.arange(y.size(1), device=x.device))
        y = torch.cat([self.token.expand(b, -1, -1), y], 1)
        with torch.no_grad():
            y = y + torch.zeros(b, y.size(1), 3, device=y.device, dtype=y.dtype)
        y = torch.einsum("bnc,c->bnc", y, self.scales[0]) * self.scales[1] + self.shifts["a"]
        y = F.dropout(y, 0.5, self.training)
        for shift in self.shifts.values():
            y = y * shift
        return y[:, 0] @ self.position.weight[:5].t()


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


class Sums(nn.Module):
    """A long line with brackets and signs in a string."""

    def forward(self, x):
        weights = torch.softmax(x.flatten(2).transpose(1, 2).mean(2, keepdim=True) + 0.25 * torch.ones(64, 1), 1)
        return torch.einsum("b c n, b n k -> b c", x.flatten(2) + 0.125, weights * 0.3333333333333 + 0.6666666666666)


class Resizes(nn.Module):
    def forward(self, x):
        y = F.interpolate(x, size=(x.shape[2] * 2, x.shape[3] * 2), mode="bilinear", align_corners=False)
        return F.adaptive_avg_pool2d(F.interpolate(y, scale_factor=0.5), 1).flatten(1)


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
        made = nn.utils.parametrizations
        self.a = made.weight_norm(nn.Conv2d(3, 4, 3))
        self.b = made.spectral_norm(nn.Conv2d(4, 4, 1))
        self.c = made.orthogonal(nn.Linear(4, 4))
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


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x * 2 + x.sigmoid()


class OwnFunction(nn.Module):
    def forward(self, x):
        return Twice.apply(x).mean((2, 3))


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
    InPlaceAgain, WritesIntoTensors, Counts, Folds, SequenceFirst, Windows, Recurrent, Asks, Embeds, Dictionaries,
    Dense, Tied, Sums, Resizes, Squeezes, Lazy, Parametrized, Hooked, CreatesModules, Plain, OwnFunction, Residual,
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


def test_the_source_reads_like_the_original():
    """Sizes of the batch, in-place operations of which only the result is used, lists and dictionaries."""
    text = source(SequenceFirst(), torch.zeros(2, *IMAGE)).text
    assert "permute(2, 0, 1).reshape(64 * x.size(0), 3)" in text
    assert "view(64, x.size(0), 5).mean(0) / x.size(0)" in text
    assert "self.conv(torch.cat(features, 1))" in source(Dense(), torch.zeros(2, *IMAGE)).text
    text = source(Dictionaries(), torch.zeros(2, *IMAGE)).text
    assert "return {" + "'out': x" in text
    text = source(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)), torch.zeros(2, *IMAGE)).text
    assert "nn.ReLU()" in text
    text = source(InPlaceAgain(), torch.zeros(2, *IMAGE)).text
    assert "nn.ReLU()" in text  # its result replaces its input from there on
    assert "nn.SiLU(inplace=True)" in text  # its caller uses the input again
    assert "weight_norm(nn.Conv2d(3, 4, 3))" in source(Parametrized(), torch.zeros(2, *IMAGE)).text


class Decides(nn.Module):
    def forward(self, x):
        if x.mean() > 0:
            return x.sum((2, 3))
        return -x.sum((2, 3))


class Draws(nn.Module):
    def forward(self, x):
        return (x + torch.rand_like(x)).sum((2, 3))


class AsksForTheBatch(nn.Module):
    def forward(self, x):
        if x.shape[0] > 1:
            return x.sum((2, 3))
        return x.mean((2, 3))


class EachImage(nn.Module):
    def forward(self, x):
        return torch.stack([image.mean((1, 2)) for image in x])


class Weighs(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x.mean((2, 3)) * self.gain.item()


class Hides(nn.Module):
    """A list of weights that no module owns."""

    def __init__(self):
        super().__init__()
        self.weights = [torch.randn(3, 3, 16, 16)]

    def forward(self, x):
        return F.conv2d(x, self.weights[0], padding=8).mean((2, 3))


class Casts(nn.Module):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x.flatten(1) @ torch.ones(192, 3)


@pytest.mark.parametrize(
    ("kind", "line", "reason"),
    [
        (Casts, 2, "changes number types under autocast"),
        (Decides, 1, "branches on the value of a tensor"),
        (Draws, 1, "draws random numbers"),
        (AsksForTheBatch, 2, "behaves differently for different numbers of images"),
        (EachImage, 1, "behaves differently for different numbers of images"),
        (Weighs, 1, "branches on the value of a tensor"),
        (Hides, 1, "uses a tensor of shape (3, 3, 16, 16) that no module of the network has"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_cannot_be_traced_is_refused_with_its_line(kind, line, reason):
    with pytest.raises(UserError) as error:
        source(kind().eval(), torch.zeros(2, *IMAGE))
    number = inspect.getsourcelines(kind.forward)[1] + line
    assert str(error.value) == (
        f"{kind.__name__} cannot be written as source: its forward {reason} (test_trace.py:{number})"
    )
