"""Forwards as people write them are traced: the source computes the same for 1, 2 and 16 images, or names a line."""

import inspect

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


class Sums(nn.Module):
    """A long line with brackets and signs in a string."""

    def forward(self, x):
        weights = torch.softmax(x.flatten(2).transpose(1, 2).mean(2, keepdim=True) + 0.25 * torch.ones(64, 1), 1)
        return torch.einsum("b c n, b n k -> b c", x.flatten(2) + 0.125, weights * 0.3333333333333 + 0.6666666666666)


class Resizes(nn.Module):
    def forward(self, x):
        y = F.interpolate(x, size=(x.shape[2] * 2, x.shape[3] * 2), mode="bilinear", align_corners=False)
        return F.adaptive_avg_pool2d(F.interpolate(y, scale_factor=0.5), 1).flatten(1)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x * 2 + x.sigmoid()


class OwnFunction(nn.Module):
    def forward(self, x):
        return Twice.apply(x).mean((2, 3))


TRACED_NETWORKS = [
    InPlaceAgain, WritesIntoTensors, Folds, SequenceFirst, Windows, Asks, Embeds, Sums, Resizes, OwnFunction,
]  # fmt: skip


@pytest.mark.parametrize("kind", TRACED_NETWORKS, ids=lambda kind: kind.__name__)
def test_it_is_traced(kind):
    torch.manual_seed(0)
    same_as_source(kind().eval(), IMAGE)


def test_the_source_reads_like_the_original():
    """Sizes of the batch, and in-place operations of which only the result is used."""
    text = source(SequenceFirst(), torch.zeros(2, *IMAGE)).text
    assert "permute(2, 0, 1).reshape(64 * x.size(0), 3)" in text
    assert "view(64, x.size(0), 5).mean(0) / x.size(0)" in text
    text = source(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)), torch.zeros(2, *IMAGE)).text
    assert "nn.ReLU()" in text
    text = source(InPlaceAgain(), torch.zeros(2, *IMAGE)).text
    assert "nn.ReLU()" in text  # its result replaces its input from there on
    assert "nn.SiLU(inplace=True)" in text  # its caller uses the input again


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
