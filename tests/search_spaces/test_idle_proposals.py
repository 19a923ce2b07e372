"""No strategy spends a proposal on what changes no network."""

import numpy as np
import pytest

from search_spaces.autoformer import AutoFormer
from search_spaces.mobilenetv3 import MobileNetV3
from search_spaces.nasbench101 import NASBench101
from search_spaces.nats_sss import NATSSize


@pytest.mark.parametrize("make", [AutoFormer, MobileNetV3, NASBench101, NATSSize])
def test_every_proposal_changes_the_network(make):
    space, rng = make(), np.random.default_rng(0)
    for _ in range(100):
        architecture = space.sample(rng)
        key = space.canonical(architecture)
        assert space.canonical(space.mutate(architecture, rng)) != key
        assert key not in {space.canonical(other) for other in space.neighbours(architecture)}
