"""The size space of NATS-Bench.

Dong, Liu, Musial & Gabrys, "NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size", TPAMI 2021,
https://arxiv.org/abs/2009.00437, section 3.2.

A network of the NAS-Bench-201 skeleton, with one cell in each of its three stages, the best of that space on the
validation images of CIFAR-100. Searched are the channels of its 5 layers, 8 to 64 in steps of 8: 32,768 networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.core import Architecture, Task
from nas.errors import UsageError
from nas.space.graph import Edge, Graph
from nas.supernets.base import SupernetSpace
from search_spaces.nats_sss_topology import CHANNELS, CONVOLUTIONS, LAYERS, SIZES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from search_spaces.cells import Operations


class NATSSize(SupernetSpace):
    """5 layers x 8 numbers of channels."""

    choices = MappingProxyType(dict.fromkeys(LAYERS, CHANNELS))
    alpha_shapes = MappingProxyType({SIZES: (len(LAYERS), len(CHANNELS))})
    operations = MappingProxyType({SIZES: tuple(map(str, CHANNELS))})
    targets = MappingProxyType({SIZES: tuple(range(len(LAYERS)))})

    def build(
        self,
        architecture: Architecture,
        task: Task,
        network: Mapping[str, Any] | None = None,
        operations: Operations = "final",
    ) -> nn.Module:
        from search_spaces.nats_sss_network import Network  # torch: comparisons on a table start without it
        from search_spaces.nats_sss_supernet import SlicedNetwork

        self.validate(architecture)
        self.known_sizes(network or {})  # refuses sizes that no space has
        channels = tuple(CHANNELS[value] for value in architecture)
        return Network(task, channels, "final") if operations == "final" else SlicedNetwork(task, channels)

    def to_text(self, architecture: Architecture) -> str:
        """The official notation, such as `64:64:64:64:64`."""
        return ":".join(str(CHANNELS[value]) for value in architecture)

    def from_text(self, text: str) -> Architecture:
        """Read the official notation.

        Raises:
            UsageError: The text is not of this space.
        """
        given = [part.strip() for part in text.strip().split(":")]
        known = [str(channels) for channels in CHANNELS]
        if len(given) != len(LAYERS) or any(part not in known for part in given):
            raise UsageError(
                f"arch={text!r} is not a network of the NATS-Bench size space; expected {len(LAYERS)} of "
                f"{', '.join(known)}, such as 8:16:32:32:64"
            )
        return tuple(map(known.index, given))

    def graphs(self, architecture: Architecture) -> dict[str, Graph]:
        """The cell, which is the same in all networks."""
        nodes = ["0", "1", "2", "3"]
        edges = [Edge(nodes[source], nodes[target], "nor_conv_3x3") for source, target in CONVOLUTIONS]
        return {"cell": Graph(nodes, [*edges, Edge("0", "3", "skip_connect")], inputs=nodes[:1], outputs=nodes[-1:])}

    def supernet(self, task: Task, network: Mapping[str, Any] | None = None, partial_channels: int = 1) -> nn.Module:
        """See `SupernetSpace.supernet`; its layers have 64 channels, of which a network takes the first."""
        from search_spaces.nats_sss_supernet import Supernet

        self.known_sizes(network or {}, key="supernet.network")
        return Supernet(task)

    def relax(self, architecture: Architecture) -> dict[str, Tensor]:
        """Probabilities of an architecture: 1 for the channels of each layer."""
        import torch
        import torch.nn.functional as F

        self.validate(architecture)
        return {SIZES: F.one_hot(torch.tensor(architecture), len(CHANNELS)).float()}

    def derive(self, probs: Mapping[str, Tensor]) -> Architecture:
        """The likeliest channels of each layer; the fewest among equals."""
        return tuple(probs[SIZES].detach().cpu().double().argmax(1).tolist())
