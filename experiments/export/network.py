"""A network of the search space nasbench201, written by cellnas 0.1.0.

|skip_connect~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|skip_connect~1|nor_conv_3x3~2|

Test accuracy 0.8675, measured once after training. Network() has the exported weights and is in
evaluation mode; Network(trained=False) is a fresh one to change and train. Both map normalised
images (B, 3, 32, 32) to logits (B, 10). What acts in training alone, such as drop-path and an
auxiliary head, is not part of it.

Made by:

    nas search data=cifar10 run=first device=cpu budget.trials=8
    nas retrain 'arch=|skip_connect~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|skip_connect~1|nor_conv_3x3~2|' space=nasbench201 data=cifar10 trainer=nasbench201 trainer.epochs=13 trainer.batch_size=128 trainer.network.cells=1
    nas export run=first trial=best 'format=[genotype,python,onnx,torch_export,state]' out=model
"""

from pathlib import Path

import torch
from torch import nn

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def prepared(pixels):
    """What the network takes, from uint8 images (B, 3, 32, 32) with values 0 to 255."""
    mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def weights():
    """The exported weights, which lie beside this file."""
    folder = Path(__file__).parent
    try:
        from safetensors.torch import load_file
    except ImportError:
        return torch.load(folder / "network.pt", weights_only=True)
    return load_file(folder / "network.safetensors")


class ReLUConvBN(nn.Sequential):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )


class Cell(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.edge_1_2_nor_conv_3x3 = ReLUConvBN(
            in_channels=channels,
            out_channels=channels,
            stride=1,
        )
        self.edge_2_3_nor_conv_3x3 = ReLUConvBN(
            in_channels=channels,
            out_channels=channels,
            stride=1,
        )

    def forward(self, x):
        node_2 = self.edge_1_2_nor_conv_3x3(x)
        node_3 = (x + x) + self.edge_2_3_nor_conv_3x3(node_2)
        return node_3


class ResidualReduction(nn.Module):
    def __init__(self, in_channels, channels):
        super().__init__()
        self.first = ReLUConvBN(in_channels=in_channels, out_channels=channels, stride=2)
        self.second = ReLUConvBN(in_channels=channels, out_channels=channels, stride=1)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(in_channels, channels, 1, bias=False),
        )

    def forward(self, x):
        return self.shortcut(x) + self.second(self.first(x))


class Network(nn.Module):
    def __init__(self, trained=True):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.body_0 = Cell(16)
        self.body_1 = ResidualReduction(in_channels=16, channels=32)
        self.body_2 = Cell(32)
        self.body_3 = ResidualReduction(in_channels=32, channels=64)
        self.body_4 = Cell(64)
        self.norm = nn.BatchNorm2d(64)
        self.classifier = nn.Linear(64, 10)
        if trained:
            self.load_state_dict(weights())
            self.eval()

    def forward(self, images):
        body_0 = self.body_0(self.stem(images))
        body_1 = self.body_1(body_0)
        body_2 = self.body_2(body_1)
        body_3 = self.body_3(body_2)
        body_4 = self.body_4(body_3)
        norm = self.norm(body_4)
        return self.classifier(torch.relu(norm).mean((2, 3)))
