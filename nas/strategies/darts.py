"""DARTS, first and second order.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055,
algorithm 1, eq. 6 to 8.

As in the published code, the virtual step of the second order is a step of the weights' own optimizer, with momentum,
weight decay and the current learning rate as ξ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.strategies.alpha_gradients import frozen
from nas.strategies.relaxation import Relaxation
from nas.validation import one_of

STEP = 0.01
"""Length of the steps of the central difference in the weights; divided by the norm of their gradient, it is ε."""


@dataclass
class DARTS(Relaxation):
    """Lower the validation loss in alpha, at the current weights or at those after one more step.

    Args:
        order: `first` (ξ = 0) or `second`, which costs 2.5 times as much.
    """

    order: str = "first"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("strategy.order", self.order, ("first", "second"))

    def alpha_step(
        self,
        supernet: nn.Module,
        train: tuple[Tensor, Tensor],
        valid: tuple[Tensor, Tensor],
        weight_optimizer: torch.optim.Optimizer,
        rng: torch.Generator,
    ) -> Tensor | None:
        if self.order == "first" or self.epoch <= self.warmup:
            return super().alpha_step(supernet, train, valid, weight_optimizer, rng)
        gradients, loss = self.unrolled(supernet, train, valid, weight_optimizer, rng)
        self.step(gradients)
        return loss

    def unrolled(
        self,
        supernet: nn.Module,
        train: tuple[Tensor, Tensor],
        valid: tuple[Tensor, Tensor],
        weight_optimizer: torch.optim.Optimizer,
        rng: torch.Generator,
    ) -> tuple[list[Tensor], Tensor]:
        """Gradients of the validation loss in alpha, through one step of the weights (eq. 7), and that loss.

        The product with the second derivative is a central difference along the weights' gradient (eq. 8).
        """
        alphas = self.alphas()
        weights = [weight for weight in supernet.parameters() if weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]
        group = weight_optimizer.param_groups[0]
        xi = group["lr"]
        reach = xi * (1 + group["momentum"]) if group["nesterov"] else xi  # of the gradient in the step
        try:
            in_weights = torch.autograd.grad(self.loss(supernet, train, rng), weights)
            with torch.no_grad():  # w' = w - ξ m', m' = µ m + d, d = ∇L + λ w; Nesterov: w' = w - ξ (d + µ m')
                for weight, gradient in zip(weights, in_weights, strict=True):
                    step = decayed = gradient.add(weight, alpha=group["weight_decay"])
                    momentum = weight_optimizer.state[weight].get("momentum_buffer")
                    if momentum is not None:
                        step = decayed.add(momentum, alpha=group["momentum"])
                    if group["nesterov"]:
                        step = decayed.add(step, alpha=group["momentum"])
                    weight.sub_(step, alpha=xi)
            loss = self.loss(supernet, valid, rng)
            parts = torch.autograd.grad(loss, [*alphas, *weights])
            in_alphas, along = parts[: len(alphas)], parts[len(alphas) :]
            epsilon = STEP / torch.linalg.vector_norm(torch.stack(torch._foreach_norm(along)))
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    for weight, start, direction in zip(weights, before, along, strict=True):
                        weight.copy_(torch.addcmul(start, direction, epsilon, value=sign))
                with frozen(supernet):
                    sides.append(torch.autograd.grad(self.loss(supernet, train, rng), alphas))
        finally:
            with torch.no_grad():
                for weight, start in zip(weights, before, strict=True):
                    weight.copy_(start)
        gradients = [
            gradient - reach * (above - below) / (2 * epsilon)
            for gradient, above, below in zip(in_alphas, *sides, strict=True)
        ]
        return gradients, loss.detach()
