"""Every module of `torch.nn` that takes one image tensor or a sequence, as a network for the exporters."""

import torch
from torch import nn

IMAGE, SEQUENCE, VOLUME = (4, 8, 8), (4, 8), (4, 4, 4, 4)


class Wrapper(nn.Module):
    """A module of torch; the tensors of a tuple are concatenated."""

    def __init__(self, module, times=1):
        super().__init__()
        self.module, self.times = module, times

    def forward(self, x):
        result = self.module(*(x,) * self.times)
        tensors = [result] if isinstance(result, torch.Tensor) else [result[0], *flat(result[1:])]
        if isinstance(self.module, nn.RNNBase):  # hidden states have dimensions (layers, batch, …)
            tensors[1:] = [one.transpose(0, 1) for one in tensors[1:]]
        return torch.cat([one.flatten(1) for one in tensors], 1)


def flat(tree):
    return [tree] if isinstance(tree, torch.Tensor) else [one for inner in tree for one in flat(inner)]


def dims(name, *args, **kwargs):
    """`Conv` in one, two and three dimensions."""
    shapes = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}
    return {f"{name}{n}d": (lambda n=n: getattr(nn, f"{name}{n}d")(*args, **kwargs), shapes[n]) for n in shapes}


PLAIN_MODULES = [
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid",
    "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink", "Dropout", "AlphaDropout", "FeatureAlphaDropout", "Dropout2d", "ChannelShuffle", "PixelShuffle",
    "PixelUnshuffle", "Softmax2d", "Flatten",
]  # fmt: skip
ARGUMENTS = {"ChannelShuffle": (2,), "PixelShuffle": (2,), "PixelUnshuffle": (2,)}

MODULES = {
    **{name: (lambda name=name: getattr(nn, name)(*ARGUMENTS.get(name, ())), IMAGE) for name in PLAIN_MODULES},
    **dims("Conv", 4, 6, 3, padding=1, groups=2),
    **dims("LazyConv", 6, 3),
    **dims("ConvTranspose", 4, 6, 3, stride=2, output_padding=1),
    **dims("LazyConvTranspose", 6, 3),
    **dims("BatchNorm", 4),
    **dims("LazyBatchNorm"),
    **dims("InstanceNorm", 4, affine=True),
    **dims("LazyInstanceNorm"),
    **dims("MaxPool", 2, stride=1),
    **dims("AvgPool", 2, ceil_mode=True),
    **dims("AdaptiveAvgPool", 2),
    **dims("AdaptiveMaxPool", 3),
    **dims("ConstantPad", 1, 0.5),
    **dims("CircularPad", 1),
    **dims("ReflectionPad", 1),
    **dims("ReplicationPad", 1),
    **dims("ZeroPad", 1),
    "LPPool1d": (lambda: nn.LPPool1d(2, 2), SEQUENCE),
    "LPPool2d": (lambda: nn.LPPool2d(2, 2), IMAGE),
    "LPPool3d": (lambda: nn.LPPool3d(2, 2), VOLUME),
    "FractionalMaxPool2d": (lambda: nn.FractionalMaxPool2d(2, output_size=3), IMAGE),
    "FractionalMaxPool3d": (lambda: nn.FractionalMaxPool3d(2, output_size=2), VOLUME),
    "Dropout1d": (nn.Dropout1d, SEQUENCE),
    "Dropout3d": (nn.Dropout3d, VOLUME),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), IMAGE),
    "CrossMapLRN2d": (lambda: nn.CrossMapLRN2d(2), IMAGE),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm((8, 8)), IMAGE),
    "RMSNorm": (lambda: nn.RMSNorm(8), IMAGE),
    "Linear": (lambda: nn.Linear(8, 5, bias=False), IMAGE),
    "LazyLinear": (lambda: nn.LazyLinear(5), IMAGE),
    "Softmax": (lambda: nn.Softmax(dim=1), IMAGE),
    "Softmin": (lambda: nn.Softmin(dim=1), IMAGE),
    "LogSoftmax": (lambda: nn.LogSoftmax(dim=-1), IMAGE),
    "Threshold": (lambda: nn.Threshold(0.1, -1), IMAGE),
    "GLU": (lambda: nn.GLU(1), IMAGE),
    "Unflatten": (lambda: nn.Unflatten(2, (4, 2)), IMAGE),
    "Unfold": (lambda: nn.Unfold(3, padding=1), IMAGE),
    "Fold": (lambda: nn.Fold((4, 3), (2, 2)), (8, 6)),
    "Upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(size=(5, 5)), IMAGE),
    "RNN": (lambda: nn.RNN(8, 5, batch_first=True, nonlinearity="relu"), SEQUENCE),
    "GRU": (lambda: nn.GRU(8, 5, num_layers=2, batch_first=True), SEQUENCE),
    "LSTM": (lambda: nn.LSTM(8, 5, bias=False, batch_first=True, bidirectional=True), SEQUENCE),
    "LSTM with projections": (lambda: nn.LSTM(8, 5, batch_first=True, proj_size=3), SEQUENCE),
    "RNNCell": (lambda: nn.RNNCell(8, 5), (8,)),
    "GRUCell": (lambda: nn.GRUCell(8, 5), (8,)),
    "LSTMCell": (lambda: nn.LSTMCell(8, 5), (8,)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True, batch_first=True), SEQUENCE),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), SEQUENCE),
    "TransformerEncoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), 2), SEQUENCE),
    "TransformerDecoderLayer": (lambda: nn.TransformerDecoderLayer(8, 2, 6, batch_first=True), SEQUENCE),
    "TransformerDecoder": (
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 6, batch_first=True), 2), SEQUENCE),
    "Transformer": (lambda: nn.Transformer(8, 2, 1, 1, 6, batch_first=True), SEQUENCE),
    "Bilinear": (lambda: nn.Bilinear(8, 8, 3), SEQUENCE),
    "CosineSimilarity": (lambda: nn.CosineSimilarity(2), SEQUENCE),
    "PairwiseDistance": (lambda: nn.PairwiseDistance(keepdim=True), SEQUENCE),
    "Sequential": (lambda: nn.Sequential(nn.ReLU(), nn.Sequential(), nn.Sequential(nn.Tanh())), IMAGE),
}  # fmt: skip
TWO_INPUT_MODULES = (
    "TransformerDecoderLayer", "TransformerDecoder", "Transformer", "Bilinear", "CosineSimilarity", "PairwiseDistance",
)  # fmt: skip
TIMES = {"MultiheadAttention": 3} | dict.fromkeys(TWO_INPUT_MODULES, 2)
"""Number of arguments; each is the same tensor."""
NOT_OF_IMAGES = {
    "Module", "Container", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "RNNBase", "RNNCellBase",
    "DataParallel", "Embedding", "EmbeddingBag", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
    "AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "NLLLoss2d",
}  # fmt: skip
"""Abstract modules, containers that are not called, and modules that take whole numbers or labels."""
RANDOM_MODULES = {"FractionalMaxPool2d", "FractionalMaxPool3d"}
"""Modules that draw random numbers in evaluation too."""


def network(name):
    torch.manual_seed(0)
    make, shape = MODULES[name]
    return Wrapper(make(), TIMES.get(name, 1)).eval(), shape
