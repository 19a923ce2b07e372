"""Networks of the spaces can be traced symbolically, as other tools that work on graphs do."""

import pytest
import torch

from nas.core import Task
from search_spaces.autoformer import AutoFormer
from search_spaces.darts import DARTS
from search_spaces.mobilenetv3 import MobileNetV3
from search_spaces.nasbench101 import NASBench101
from search_spaces.nasbench201 import NASBench201
from search_spaces.nasnet import NASNet
from search_spaces.nats_sss import NATSSize

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (NASBench201(channels=4, cells=1), CELL),
        (DARTS(channels=4, cells=3), "DARTS_V2"),
        (NASNet(channels=4, cells=3), "NASNet-A"),
        (MobileNetV3(width=0.1), "OFA-note8-31ms"),
        (AutoFormer(family="small", width=0.05), "AutoFormer-S"),
        (NASBench101(channels=5, cells=1), "NB101-best"),
        (NATSSize(), "8:16:8:8:24"),
    ],
    ids=["nasbench201", "darts", "nasnet", "mobilenetv3", "autoformer", "nasbench101", "nats_sss"],
)
@pytest.mark.parametrize("side", [8, 7])
def test_the_graph_that_torch_fx_traces_computes_the_network(space, text, side):
    """Of an odd side, the two halves of a factorised reduction differ in size unless it is padded."""
    torch.manual_seed(0)
    network = space.build(space.from_text(text), Task(3, side, side, 4)).eval()
    traced = torch.fx.symbolic_trace(network)
    images = torch.randn(2, 3, side, side)
    torch.testing.assert_close(traced(images), network(images))
