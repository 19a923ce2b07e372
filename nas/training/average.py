"""A moving average of a network's weights, which often scores better than the weights themselves.

Polyak & Juditsky, SIAM Journal on Control and Optimization 30(4), 1992; exponential, with a decay that rises in the
first steps, as image classifiers are trained since Szegedy et al., CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from nas.training.weight_files import copy_extra_state


class ModelEMA(AveragedModel):
    """The exponential moving average of a network, as `module`; parameters and running statistics are averaged.

    Step n = 1, 2, … has m <- d m + (1 - d) w with d = min(decay, (1 + n) / (10 + n)).

    Differs from torch's own: the weights before the first step count too, integers are copied, since counters cannot be
    averaged, and extra state is copied.

    Args:
        network: Network before the first step; copied.
        decay: Decay, 0 to below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        def average(averages: PARAM_LIST, currents: PARAM_LIST, step: Tensor | int) -> None:
            if averages[0].is_floating_point() or averages[0].is_complex():
                weight = 1.0 - min(decay, (1 + int(step)) / (10 + int(step)))
                torch._foreach_lerp_(averages, currents, weight)
            else:
                torch._foreach_copy_(averages, currents)

        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self.requires_grad_(False)
        self.n_averaged.fill_(1)  # with 0 the first update would replace the weights

    def update_parameters(self, model: nn.Module) -> None:
        super().update_parameters(model)
        copy_extra_state(model, self.module)

    def saved(self) -> dict[str, Any]:
        """State for a checkpoint: number of steps, and state_dict of the average."""
        return {"steps": int(self.n_averaged) - 1, "network": self.module.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `saved` returned."""
        self.module.load_state_dict(state["network"])
        self.n_averaged.fill_(int(state["steps"]) + 1)
