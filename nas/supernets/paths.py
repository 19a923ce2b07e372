"""The single paths that a supernet is trained on.

Uniform: each step trains one architecture, every decision drawn uniformly (Guo et al., "Single Path One-Shot Neural
Architecture Search with Uniform Sampling", ECCV 2020, https://arxiv.org/abs/1904.00420, section 3.2; Li & Talwalkar,
"Random Search and Reproducibility for NAS", UAI 2019, https://arxiv.org/abs/1902.07638).

Fair: each step trains as many architectures as a decision has options, so that each decision takes each of its options
once, and adds up their gradients (Chu, Zhang & Xu, "FairNAS", ICCV 2021, https://arxiv.org/abs/1907.01845, algorithm
1). Differs from the paper if decisions differ in their number of options: a decision with fewer starts another
permutation. An option counts as taken in a path in which its decision does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator

from nas.core import Architecture
from nas.errors import UsageError
from nas.space.base import SearchSpace

Sampler = Callable[[SearchSpace, Generator], list[Architecture]]


def uniform(space: SearchSpace, rng: Generator) -> list[Architecture]:
    """One architecture."""
    return [space.sample(rng)]


def fair(space: SearchSpace, rng: Generator) -> list[Architecture]:
    """As many architectures as the largest decision has options.

    Raises:
        UsageError: The space has constraints, which fair samples would break.
    """
    paths = max(space.sizes)
    columns = []
    for size in space.sizes:
        rounds = [rng.permutation(size) for _ in range(-(-paths // size))]
        columns.append(np.concatenate(rounds)[:paths].tolist())
    drawn = [space.reduced(path) for path in zip(*columns, strict=True)]
    if not all(space.is_valid(path) for path in drawn):
        raise UsageError(
            f"evaluator.sampling=fair: space {type(space).__name__} has constraints, which fair samples break; set "
            "evaluator.sampling=uniform"
        )
    return drawn


SAMPLERS: Mapping[str, Sampler] = {"uniform": uniform, "fair": fair}
