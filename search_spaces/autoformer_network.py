"""The networks of the AutoFormer space: vision transformers with relative positions.

Chen, Peng, Fu & Ling, "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021,
https://arxiv.org/abs/2107.00651, and its released code, https://github.com/microsoft/Cream (AutoFormer). Relative
positions: Shaw, Uszkoreit & Vaswani, NAACL 2018, https://arxiv.org/abs/1803.02155, by rows and columns of the patches.

As released, a class token takes part in the attention, and the classifier sees the mean of the patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from nas.space.naming import named
from nas.space.network import SupportsDropPath

REACH = 14
"""Largest distance of two patches, in rows or columns, that has a position of its own."""
STD = 0.02
"""Standard deviation of the initial weights."""


class RelativePositions(nn.Module):
    """forward(rows, columns) -> (N, N, channels): a vector for each pair of tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # embeddings: the gradient of indexing a parameter takes many times as long on a CPU
        self.vertical = nn.Embedding(2 * REACH + 2, channels)
        self.horizontal = nn.Embedding(2 * REACH + 2, channels)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        vectors: Tensor = self.vertical(rows) + self.horizontal(columns)
        return vectors


class Attention(nn.Module):
    """Self-attention with relative positions of keys and of values; forward(x: (B, N, embedding)) -> the same shape.

    Args:
        embedding: Channels of a token.
        heads: Number of heads.
        channels: Channels of a head.
    """

    def __init__(self, embedding: int, heads: int, channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.channels = channels
        self.inward = nn.Linear(embedding, 3 * heads * channels)
        self.keys = RelativePositions(channels)
        self.values = RelativePositions(channels)
        self.outward = nn.Linear(heads * channels, embedding)

    def forward(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        shaped = self.inward(x).unflatten(2, (3, self.heads, self.channels)).permute(2, 0, 3, 1, 4)
        q, k, v = shaped[0] * self.channels**-0.5, shaped[1], shaped[2]
        scores = q @ k.transpose(2, 3) + torch.einsum("bhid,ijd->bhij", q, self.keys(rows, columns))
        weights = scores.softmax(3)
        y = weights @ v + torch.einsum("bhij,ijd->bhid", weights, self.values(rows, columns))
        output: Tensor = self.outward(y.transpose(1, 2).flatten(2))
        return output


class Layer(nn.Module):
    """Attention and an MLP, each after a normalisation and beside the identity.

    Args:
        embedding: Channels of a token.
        heads: Number of heads.
        channels: Channels of a head.
        ratio: Hidden channels of the MLP, as a multiple of `embedding`.
    """

    def __init__(self, embedding: int, heads: int, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = int(embedding * ratio)
        self.attention_norm = nn.LayerNorm(embedding)
        self.attention = Attention(embedding, heads, channels)
        self.mlp_norm = nn.LayerNorm(embedding)
        self.mlp = nn.Sequential(nn.Linear(embedding, hidden), nn.GELU(), nn.Linear(hidden, embedding))

    def forward(self, x: Tensor, rows: Tensor, columns: Tensor, drop_path: float = 0.0) -> Tensor:
        x = x + self._kept(self.attention(self.attention_norm(x), rows, columns), drop_path)
        return x + self._kept(self.mlp(self.mlp_norm(x)), drop_path)

    def _kept(self, x: Tensor, drop_path: float) -> Tensor:
        """Some images dropped and the others scaled up in training (Huang et al., ECCV 2016)."""
        if not (self.training and drop_path > 0.0):
            return x
        return x * ((torch.rand(x.shape[0], 1, 1, device=x.device) >= drop_path) / (1.0 - drop_path))


class Network(nn.Module, SupportsDropPath):
    """forward(images: (B, task.channels, H, W)) -> logits (B, task.classes).

    Images whose sides are not multiples of `patch` are padded with zeros below and on the right.

    Args:
        layers: (heads, MLP ratio) of each layer.
        embedding: Channels of a token.
        channels: Channels of a head.
        patch: Side of a patch (pixels).
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self, layers: Sequence[tuple[int, float]], task: Task, *, embedding: int, channels: int, patch: int
    ) -> None:
        super().__init__()
        self.drop_path = 0.0
        """Probability that the last layer is dropped for an image; it rises from 0 at the first layer."""
        height, width = -(-task.height // patch), -(-task.width // patch)
        self.pad = nn.ZeroPad2d((0, width * patch - task.width, 0, height * patch - task.height))
        self.patches = nn.Conv2d(task.channels, embedding, patch, patch)
        self.token = nn.Parameter(_normal(1, 1, embedding))
        self.positions = nn.Parameter(_normal(1, 1 + height * width, embedding))
        rows, columns = _distances(height, width)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.layers = nn.ModuleList(Layer(embedding, heads, channels, ratio) for heads, ratio in layers)
        self.norm = nn.LayerNorm(embedding)
        self.classifier = nn.Linear(embedding, task.classes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(self.pad(images)).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(patches.shape[0], -1, -1), patches), 1) + self.positions
        for number, layer in enumerate(self.layers):
            drop_path = self.drop_path * number / max(1, len(self.layers) - 1)
            x = named(layer(x, self.rows, self.columns, drop_path), f"layer_{number + 1}")
        logits: Tensor = self.classifier(self.norm(x)[:, 1:].mean(1))
        return logits


def _normal(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), std=STD)


def _distances(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Numbers (N, N) of the vertical and of the horizontal distance of each pair of tokens; 0 with the class token."""
    y, x = (axis.flatten() for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    numbers = [(axis[None] - axis[:, None]).clamp(-REACH, REACH) + REACH + 1 for axis in (y, x)]
    rows, columns = (F.pad(number, (1, 0, 1, 0)) for number in numbers)
    return rows, columns
