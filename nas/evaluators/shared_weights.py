"""Score an architecture with the weights of a supernet instead of training it.

Trained before the search on sampled single paths, it is the one-shot model of Guo et al., "Single Path One-Shot Neural
Architecture Search with Uniform Sampling", ECCV 2020, https://arxiv.org/abs/1904.00420 (with evolution), and of Li &
Talwalkar, "Random Search and Reproducibility for NAS", UAI 2019, https://arxiv.org/abs/1902.07638 (with random search).
Trained on the strategy's own proposals, with REINFORCE, it is Pham, Guan, Zoph, Le & Dean, "Efficient Neural
Architecture Search via Parameter Sharing", ICML 2018, https://arxiv.org/abs/1802.03268.

Differs from the papers: normalisation uses the statistics of each batch, in training and in scoring, so none have to be
measured for each architecture; ENAS alternates after every proposal instead of after an epoch of weights and 2,000
controller steps, scores on all validation images instead of one batch, and does not rescore at the end. A trial is
therefore scored with the weights of that moment, which are poor at first. The recipe of the weights is the caller's,
not that of ENAS (configs/experiment/enas.yaml lists the constants).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from nas.core import Architecture, Context, Metrics, Proposal, Trial
from nas.data import generators
from nas.data.base import DataSet
from nas.data.images import Split
from nas.errors import UsageError, UserError, located
from nas.evaluators.table import TableEvaluator
from nas.identity import DECISIONS
from nas.provenance import config_snapshot
from nas.space.base import SearchSpace
from nas.space.notation import recorded_choices
from nas.supernets.base import SupernetSpace
from nas.supernets.paths import SAMPLERS
from nas.supernets.recipe import check_recipe
from nas.supernets.shared import OnlineSupernet, PretrainedSupernet
from nas.supernets.weights import Weights, sizes
from nas.tables.table import Table
from nas.training.device import configured, resolve_device
from nas.training.fit import EVALUATION_BATCH, TrainingFailed, memory_guard
from nas.training.recipe import Recipe
from nas.validation import one_of, whole_number

FILE = "shared-weights.pt"
"""File name of the checkpoint."""


class SharedWeights:
    """Scores proposals with one supernet.

    Metrics of a trial: `valid_accuracy` (fraction 0-1), `valid_loss` (nats), and with `train="on_proposal"`
    `train_loss`. They rank architectures relative to one another and do not predict what training would reach.

    Args:
        space: Space with a supernet.
        data: Images; the training part trains the supernet, the validation part scores, the test images stay locked.
        supernet: Recipe of the weights; its epochs are the length of the training, or of the schedule on proposals.
        train: `before` the search, on sampled paths, or `on_proposal`, some steps on each before it is scored.
        sampling: Sampling of the paths before the search, `uniform` (also for None) or `fair`.
        steps: Batches per proposal that the weights are trained on, 1 or more; None: 1.
        seed: Seed of initialisation, images and paths.
        table: Benchmark to compare the scores with after a search; None: there is none.
    """

    answers_every_query = True  # equal functions may have different weights in a supernet, and weights change

    def __init__(
        self,
        space: SearchSpace,
        data: DataSet,
        supernet: Recipe,
        *,
        train: Literal["before", "on_proposal"] = "before",
        sampling: Literal["uniform", "fair"] | None = None,
        steps: int | None = None,
        seed: int = 0,
        table: Table | None = None,
    ) -> None:
        if supernet is None:
            raise UsageError("evaluator=shared_weights needs a supernet; set supernet= to one of the options of --help")
        if not isinstance(space, SupernetSpace):
            raise UsageError(f"space {type(space).__name__} has no supernet; choose another space= or evaluator=")
        one_of("evaluator.train", train, ("before", "on_proposal"))
        for key, value, use in (("sampling", sampling, "before"), ("steps", steps, "on_proposal")):
            if value is not None and train != use:
                raise UsageError(f"evaluator.{key}={value} has no effect with evaluator.train={train}; leave it out")
        if sampling is not None:
            one_of("evaluator.sampling", sampling, tuple(SAMPLERS))
        if steps is not None:
            whole_number("evaluator.steps", steps)
        whole_number("evaluator.seed", seed, least=0)
        check_recipe(supernet)
        for key, usual in (("validate_every", 1), ("graphs", True)):
            if getattr(supernet, key, usual) != usual:
                raise UsageError(
                    f"supernet.{key}={getattr(supernet, key)} has no effect with evaluator=shared_weights; leave it out"
                )
        self.space = space
        self.data = data
        self.supernet = supernet
        self.train = train
        self.sampling = sampling
        self.steps = steps
        self.seed = seed
        self.table = table
        self.checkpoint_dir: Path | None = None
        self._split: Split | None = None
        self.shared: PretrainedSupernet | OnlineSupernet | None = None
        self.reporter = None if table is None else TableEvaluator(space, table)
        """Columns of the table, for after a search; None without a table."""

    @property
    def sequential(self) -> bool:
        return self.train == "on_proposal"

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ("valid_accuracy", "valid_loss", *(("train_loss",) if self.sequential else ()))

    @property
    def is_trained(self) -> bool:
        return self.shared is not None or (self.checkpoint_dir is not None and (self.checkpoint_dir / FILE).exists())

    def protocol(self) -> Mapping[str, Any]:
        """Data split, recipe, and all that decides the weights: scores of two supernets are never ranked together."""
        if self._split is None:
            self._split = self.data.split()
        recipe = self.supernet.protocol() | {"network": sizes(self.space, self.supernet)}
        own = {"steps": self.steps or 1} if self.sequential else {"sampling": self.sampling or "uniform"}
        shared: dict[str, Any] = {"train": self.train, **own, "seed": self.seed}
        if self._valid_images() % EVALUATION_BATCH == 1:
            shared["last_image"] = "joined"  # cellnas 0.1.0 normalised it by itself
        return {"data": self.data.name, "split": self._split.hash, "recipe": recipe, "shared_weights": shared}

    def _valid_images(self) -> int:
        if self._split is None:
            self._split = self.data.split()
        return len(self._split.valid.first(self.supernet.valid_images))

    def train_weights(
        self, device: str, trials: Sequence[Trial], report: Callable[[int, Sequence[Metrics]], None]
    ) -> None:
        resolved = resolve_device(device)
        current = self.shared if self.shared is not None and self.shared.weights.device == resolved else None
        proposals = [trial.proposal.architecture for trial in trials]
        if isinstance(current, PretrainedSupernet) or (current is not None and current.learnt == proposals):
            return  # the weights are trained already
        if self.reporter is not None:
            self.reporter.prepare(device)  # report an unusable table before hours of training
        protocol = self.protocol()
        assert self._split is not None
        if self._valid_images() < 2:
            raise UsageError(
                f"supernet.valid_images={self.supernet.valid_images}: proposals are scored on {self._valid_images()} "
                "validation image, which has no variance to normalise by; expected 2 or more"
            )
        path = None if self.checkpoint_dir is None else self.checkpoint_dir / FILE
        decisions = recorded_choices(self.space)
        identity = {"space": config_snapshot(self.space), DECISIONS: decisions, **protocol, "device": resolved.type}
        with self._working(resolved):
            weights = Weights(
                self.space,
                self._split,
                self.data.task,
                self.supernet,
                seed=self.seed,
                device=resolved,
                run_all_operations=False,
            )
            if self.sequential:
                on_proposals = OnlineSupernet(self.space, weights, path, identity, steps=self.steps or 1)
                on_proposals.resume(proposals)
                self.shared = on_proposals
            else:
                sampler = SAMPLERS[self.sampling or "uniform"]
                before = PretrainedSupernet(self.space, weights, path, identity, sampler=sampler)
                before.train(report)
                self.shared = before

    def prepare(self, device: str) -> None:
        """Train or load the weights, unless a search has done so.

        Raises:
            UserError: As `train_weights`.
        """
        if self.shared is None:
            self.train_weights(device, (), lambda _epochs, _curve: None)

    def __call__(self, proposal: Proposal, context: Context) -> Metrics:
        if proposal.fidelity is not None:
            raise UsageError(
                f"the strategy asks for {proposal.fidelity} epochs, but evaluator=shared_weights does not train "
                "individual proposals; set evaluator=training"
            )
        self.prepare(context.device)
        shared, metrics = self.shared, {}
        assert shared is not None
        with self._working(shared.weights.device):
            if isinstance(shared, OnlineSupernet):
                metrics["train_loss"] = shared.learn(proposal.architecture)
            metrics["valid_accuracy"], metrics["valid_loss"] = shared.score(proposal.architecture)
        context.measured("supernet_seconds", round(shared.seconds, 3))
        return metrics

    def scores(self, architectures: Sequence[Architecture], device: str) -> list[float]:
        """Accuracies (fractions 0-1) on the validation images with the current weights."""
        self.prepare(device)
        shared = self.shared
        assert shared is not None
        with self._working(shared.weights.device):
            return [shared.score(architecture)[0] for architecture in architectures]

    def __getstate__(self) -> dict[str, Any]:
        """Without images and weights: each process loads its own."""
        return self.__dict__ | {"_split": None, "shared": None}

    @contextmanager
    def _working(self, device: torch.device) -> Iterator[None]:
        """With the recipe's threads and precision; a failure ends the search, as all scores depend on the weights."""
        try:
            with configured(device, self.supernet), memory_guard("supernet"), generators.restored():
                yield
        except TrainingFailed as failure:
            resumable = (
                self.checkpoint_dir is not None
                and (self.checkpoint_dir / FILE).exists()
                and failure.kind != "not_finite"
            )
            more = "; rerun the command to resume from the last checkpoint" if resumable else ""
            raise UserError(f"the training of the shared weights failed: {failure.message}{more}") from None
        except UserError:
            raise
        except Exception as error:
            if not self.sequential:
                raise
            # an interrupted step leaves weights that no other session could reproduce
            raise UserError(f"the shared weights could not learn from a proposal: {located(error)}") from error
