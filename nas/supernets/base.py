"""Interfaces: a space with a supernet, a strategy that searches on it, and a discretization of its result.

Alpha belongs to the strategy; the supernet takes probabilities: a softmax is DARTS, hard samples are GDAS, one-hot rows
are single paths. The outcome is an architecture like any other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from nas.core import Architecture, Metrics, Task
from nas.space.base import SearchSpace

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from torch import Tensor, nn


class SupernetSpace(SearchSpace):
    """A space with a supernet: the network of all operations on all edges, weighted by probabilities."""

    alpha_shapes: Mapping[str, tuple[int, int]]
    """Set of probabilities -> its shape (edges, operations); one set per kind of cell."""

    operations: Mapping[str, Sequence[str]]
    """Set -> names of the operations, in the order of the columns."""

    targets: Mapping[str, Sequence[int]]
    """Set -> the node that each edge (row) leads to."""

    search_network: Mapping[str, Any] = MappingProxyType({})
    """Published sizes of the supernet, which nulls of `supernet.network` stand for."""

    supports_partial_channels: bool = False
    """Whether `supernet` takes a `partial_channels` above 1 (PC-DARTS)."""

    @abstractmethod
    def supernet(self, task: Task, network: Mapping[str, Any] | None = None, partial_channels: int = 1) -> nn.Module:
        """The supernet, freshly initialised from torch's global generator.

        Args:
            task: Shape of the images and number of classes.
            network: Sizes instead of the space's own, from `supernet.network`; only keys of `network_sizes`.
            partial_channels: K of PC-DARTS: one in K channels passes through the operations; above 1 only if
                `supports_partial_channels` is set.

        Returns:
            A module with `forward(images, probs, run_all_operations=False) -> logits`, which does not know alpha.
            `probs` has a tensor of non-negative numbers for each set, and may have weights of its edges under
            `SET_edges`. Operations of probability 0 are not run unless `run_all_operations` is set. Parameters have
            the names they have in `build(architecture, task, network, operations="search")`.
        """

    @abstractmethod
    def build(
        self,
        architecture: Architecture,
        task: Task,
        network: Mapping[str, Any] | None = None,
        operations: Literal["final", "search"] = "final",
    ) -> nn.Module:
        """As `SearchSpace.build`.

        Args:
            operations: `final` for the network that is trained on its own; `search` for the one that computes what the
                supernet does at the probabilities of this architecture, with parameters of the same names.
        """

    @abstractmethod
    def relax(self, architecture: Architecture) -> Mapping[str, Tensor]:
        """The probabilities, 0 and 1, at which the supernet computes an architecture."""

    @abstractmethod
    def derive(self, probs: Mapping[str, Tensor]) -> Architecture:
        """The architecture of given probabilities, and of weights of edges if given, by the paper's rule."""


@runtime_checkable
class GradientStrategy(Protocol):
    """A strategy that learns probabilities of operations on a supernet, by gradients. One search is one trial.

    Attributes:
        epochs: Length of one search.
        partial_channels: K of PC-DARTS: one in K channels of its supernet passes through the operations; 1: all.
        single_path: Whether most probabilities are 0, so that it pays to look at them before running an operation.
        stochastic: Whether a step draws random numbers, so that no two steps are the same computation.
        early_stopping, eigenvalue: See `nas.strategies.relaxation`.
        discretization: Rule by which probabilities become an architecture; None: the space's own.
    """

    epochs: int
    partial_channels: int
    single_path: bool
    stochastic: bool
    early_stopping: bool
    eigenvalue: bool
    discretization: Discretization | None

    def init(self, rng: Generator, device: torch.device) -> None:
        """Initialise alpha and its optimizer, at the start of a search; the only random initialisation of alpha."""

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch, counted from 1."""

    def alphas(self) -> list[Tensor]:
        """The tensors that are learnt."""

    def probs(self, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Probabilities to run the supernet with, as a function of alpha; a new sample at each call if `stochastic`."""

    def expected(self) -> Mapping[str, Tensor]:
        """Probabilities without randomness and without a gradient, weights of edges included. The supernet is validated
        at them, and an architecture is derived from them."""

    def alpha_step(
        self,
        supernet: nn.Module,
        train: tuple[Tensor, Tensor],
        valid: tuple[Tensor, Tensor],
        weight_optimizer: torch.optim.Optimizer,
        rng: torch.Generator,
    ) -> Tensor | None:
        """One step of alpha, which leaves the weights and their optimizer as they were.

        Args:
            train, valid: Images (B, C, H, W) and labels (B,) of either part.

        Returns:
            The validation loss (nats, without a gradient), or None if no step was due.
        """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class TrainedSupernet(Protocol):
    """A supernet at the end of its search, for a discretization that evaluates it."""

    def score(self, probs: Mapping[str, Tensor]) -> float:
        """Accuracy (fraction 0-1) on validation images at given probabilities."""

    def tune(self, probs: Mapping[str, Tensor], epochs: int) -> None:
        """Continue to train its weights, at given probabilities; a resumed search does not repeat finished tuning."""

    def decide(self, decision: Callable[[], Sequence[int]]) -> Sequence[int]:
        """The outcome of a decision. It is saved, so a resumed search does not repeat the decision."""


class Discretization(Protocol):
    """A rule by which probabilities become an architecture."""

    def __call__(
        self, space: SupernetSpace, probs: Mapping[str, Tensor], trained: TrainedSupernet, rng: Generator
    ) -> Architecture: ...


@dataclass(frozen=True)
class SupernetSearch:
    """The outcome of a search on a supernet.

    Args:
        architecture: Derived from its probabilities.
        curve: Metrics after each epoch: `supernet_train_loss`, `supernet_valid_loss` (nats), `supernet_valid_accuracy`,
            `skip_share` (fractions 0-1), `alpha_entropy` (nats), and `alpha_eigenvalue` if it is measured.
        seconds: Wall time, earlier sessions included.
        cost: `supernet_memory_mb`.
        info: Probabilities, and any early stop or collapse; JSON-safe.
    """

    architecture: Architecture
    curve: tuple[Metrics, ...]
    seconds: float
    cost: Metrics = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


TrialSearch: TypeAlias = Callable[[int, int, str, Callable[[int, Sequence[Metrics]], None]], SupernetSearch]
"""The search of one trial: a `SupernetSearcher` with its strategy."""


class SupernetSearcher(Protocol):
    """Runs the searches of a gradient strategy."""

    def __call__(
        self,
        strategy: GradientStrategy,
        number: int,
        seed: int,
        device: str,
        report: Callable[[int, Sequence[Metrics]], None],
    ) -> SupernetSearch:
        """One search.

        Args:
            number: Number of the trial.
            seed: Seed of everything random in it.
            report: Called at the start and after each epoch with the number of epochs and the curve so far.

        Raises:
            UserError: The batch does not fit, a number became infinite or NaN, or a checkpoint cannot be used.
        """
