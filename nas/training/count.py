"""Counting what a network holds and computes."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.core import Task
from nas.network import auxiliary_head


def parameters(network: nn.Module) -> int:
    """Number of trainable values, those of an auxiliary head aside: it is gone when the network is used."""
    auxiliary = auxiliary_head(network)
    aside = set() if auxiliary is None else set(auxiliary.parameters())
    return sum(value.numel() for value in network.parameters() if value.requires_grad and value not in aside)


def flops(network: nn.Module, task: Task) -> int:
    """Multiply-accumulate operations of convolutions and matrix products for one image.

    The field calls this FLOPs. Additions of a bias, normalisation, activation and pooling are not counted, so
    NAS-Bench-201's own figure is larger by the classifier's 10 bias additions.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, task.channels, task.height, task.width, device=device))
    network.train(training)
    return int(counter.get_total_flops()) // 2
