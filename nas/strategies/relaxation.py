"""The base of strategies that learn alpha by gradients: parameters, their optimizer, and their state.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055, section
2: each edge has one parameter per operation, and Adam lowers the validation loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from nas.core import Objective, Proposal, Trial
from nas.errors import UsageError
from nas.strategies.alpha_gradients import frozen, gradients
from nas.supernets.base import Discretization, SupernetSpace
from nas.validation import number_in, true_or_false, whole_number


@dataclass
class Relaxation:
    """Alpha and its first-order steps.

    Args:
        epochs: Length of a search.
        alpha_lr: Learning rate of alpha, for Adam with betas (0.5, 0.999).
        alpha_weight_decay: L2 penalty on alpha, from 0.
        warmup: Epochs at the start in which only the weights are trained, fewer than `epochs`.
        eigenvalue: Measure the dominant eigenvalue of the validation loss's Hessian in alpha after each epoch (Zela et
            al., ICLR 2020, https://arxiv.org/abs/1909.09656); costs about twenty more steps per epoch.
        early_stopping: End the search once that eigenvalue has risen by a third within five epochs, and derive the
            cell from before the rise; never from the first ten epochs after the warm-up.
        discretization: Rule by which probabilities become an architecture; None: the space's own.
    """

    space: SupernetSpace
    objective: Objective
    epochs: int = 50
    alpha_lr: float = 3e-4
    alpha_weight_decay: float = 1e-3
    warmup: int = 0
    eigenvalue: bool = False
    early_stopping: bool = False
    discretization: Discretization | None = None
    parameters: dict[str, nn.Parameter] = field(default_factory=dict, init=False, repr=False)

    single_path = stochastic = False
    partial_channels = 1

    def __post_init__(self) -> None:
        if not isinstance(self.space, SupernetSpace):
            raise UsageError(
                f"strategy {type(self).__name__} needs a supernet, and the space {type(self.space).__name__} has none; "
                "choose a space with one, such as space=darts or space=nasbench201, or another strategy="
            )
        whole_number("strategy.epochs", self.epochs)
        number_in("strategy.alpha_lr", self.alpha_lr, 0.0, math.inf, above=True)
        number_in("strategy.alpha_weight_decay", self.alpha_weight_decay, 0.0, math.inf)
        whole_number("strategy.warmup", self.warmup, least=0, most=self.epochs - 1)
        for key in ("eigenvalue", "early_stopping"):
            true_or_false(f"strategy.{key}", getattr(self, key))

    def reset(self, rng: Generator) -> None:
        """No state outlasts a search."""

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal | None:
        """Refuse: the loop runs the search on a supernet, and proposals need one."""
        raise UsageError(f"strategy {type(self).__name__} needs a supernet to search on; pass supernets= to search()")

    def tell(self, trial: Trial) -> None:
        """Searches do not learn from one another."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each parameter; a method with parameters besides those of operations adds its own."""
        return dict(self.space.alpha_shapes)

    def init(self, rng: Generator, device: torch.device) -> None:
        self.parameters = {
            name: nn.Parameter(torch.from_numpy(1e-3 * rng.standard_normal(shape)).float().to(device))
            for name, shape in self.shapes().items()
        }
        fixed: dict[str, Any] = {"betas": (0.5, 0.999), "capturable": device.type == "cuda"}  # for CUDA graphs
        self.optimizer = torch.optim.Adam(self.alphas(), self.alpha_lr, weight_decay=self.alpha_weight_decay, **fixed)
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def alphas(self) -> list[Tensor]:
        return list(self.parameters.values())

    def probs(self, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Softmax over the operations of each edge (DARTS eq. 2)."""
        return {name: alpha.softmax(-1) for name, alpha in self.parameters.items()}

    @torch.no_grad()
    def expected(self) -> Mapping[str, Tensor]:
        return {name: alpha.softmax(-1) for name, alpha in self.parameters.items()}

    def alpha_step(
        self,
        supernet: nn.Module,
        train: tuple[Tensor, Tensor],
        valid: tuple[Tensor, Tensor],
        weight_optimizer: torch.optim.Optimizer,
        rng: torch.Generator,
    ) -> Tensor | None:
        if self.epoch <= self.warmup:
            return None
        with frozen(supernet):
            loss = self.loss(supernet, valid, rng) + self.penalty()
            in_alphas = gradients(loss, self.alphas())
        self.step(in_alphas)
        return loss.detach()

    def loss(self, supernet: nn.Module, batch: tuple[Tensor, Tensor], rng: torch.Generator) -> Tensor:
        """Mean cross-entropy (nats) of the supernet at the current alpha."""
        images, labels = batch
        logits = supernet(images, self.probs(rng), run_all_operations=not self.single_path)
        return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)

    def penalty(self) -> Tensor | float:
        """A term that a method adds to the validation loss."""
        return 0.0

    def step(self, gradients: Sequence[Tensor]) -> None:
        for alpha, gradient in zip(self.alphas(), gradients, strict=True):
            alpha.grad = gradient
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "alphas": {name: alpha.detach().cpu() for name, alpha in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, alpha in self.parameters.items():
                alpha.copy_(state["alphas"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
