"""The samplers of Optuna.

Akiba, Sano, Yanase, Ohta & Koyama, "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019,
https://arxiv.org/abs/1907.10902. The default is its tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).

The decisions that matter are suggested in their order: an ordered one as a whole number, the position of its option, so
that a logarithmic range is even for the sampler too; an unordered one as a category. Trials in flight are running
trials of the study, and failed ones have failed there. What a sampler writes about a trial is in the proposal's `info`
as `optuna`.

Differs from Optuna: each proposal has a new sampler with a seed of the trial, so that a search can be resumed. It knows
the trials, and nothing else. After 10 suggestions in a row that break a constraint of the space a random architecture
is proposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from numpy.random import Generator

from nas.core import Architecture, Objective, Proposal, Trial
from nas.errors import UsageError, located
from nas.space.base import SearchSpace
from nas.space.conditions import RESTING
from nas.strategies.optuna_samplers import check_sampler, new_sampler, quiet

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

MAX_SUGGESTIONS = 10
"""Suggestions in a row that break a constraint, after which a random architecture is proposed."""


@dataclass
class OptunaSearch:
    """Propose what a sampler of Optuna suggests.

    Args:
        sampler: Class in `optuna.samplers`.
        options: Its arguments by name, such as `multivariate: true`; its seed follows from that of the run.
    """

    space: SearchSpace
    objective: Objective
    sampler: str = "TPESampler"
    options: Mapping[str, Any] = field(default_factory=dict)
    told: dict[int, tuple[FrozenTrial, Mapping[str, Any]]] = field(default_factory=dict, init=False, repr=False)
    """Number of a trial -> what a study knows of it, and what its sampler wrote about the study."""

    def __post_init__(self) -> None:
        check_sampler(self.sampler, self.options)

    def reset(self, rng: Generator) -> None:
        self.told.clear()
        self._seed = int(rng.integers(2**32))

    def ask(self, rng: Generator, pending: Sequence[Proposal]) -> Proposal:
        import optuna
        from optuna.trial import TrialState

        from nas.strategies.optuna_storage import NAME, SearchStorage, frozen

        asked = dict(self.told)
        not_told = (number for number in count() if number not in self.told)
        for number, proposal in zip(not_told, pending, strict=False):
            asked[number] = frozen(self.space, number, proposal, TrialState.RUNNING, None), _of_study(proposal)
        before: dict[str, Any] = {}
        for number in sorted(asked):
            before |= asked[number][1]
        attributes = dict(before)
        for _ in range(MAX_SUGGESTIONS):
            storage = SearchStorage([asked[number][0] for number in sorted(asked)], attributes)
            seed = int(rng.integers(2**32))
            with quiet():
                sampler = new_sampler(self.sampler, self.options, seed, self._seed)
                architecture = self._suggested(optuna.Study(NAME, storage, sampler))
            if self.space.is_valid(architecture):
                break
        else:
            return Proposal(self.space.sample(rng))
        written = {
            "trial": storage.trials[-1].system_attrs,
            "study": {key: value for key, value in attributes.items() if before.get(key) != value},
        }
        written = {subject: values for subject, values in written.items() if values}
        return Proposal(architecture, info={"optuna": written} if written else {})

    def tell(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        from nas.strategies.optuna_storage import frozen

        state, score = TrialState.FAIL, None
        if trial.completed:
            state, score = TrialState.COMPLETE, self.objective.score(trial)
        told = frozen(self.space, trial.number, trial.proposal, state, score)
        self.told[trial.number] = told, _of_study(trial.proposal)

    def _suggested(self, study: Study) -> Architecture:
        """What the sampler of a study suggests for the decisions that matter, the first option for the others."""
        chosen: Architecture = ()
        try:
            trial = study.ask()
            for name, kind in self.space.decisions.items():
                rest = [RESTING] * (len(self.space.sizes) - len(chosen))
                option, last = RESTING, len(kind) - 1
                if last and name in self.space.active((*chosen, *rest)):
                    ordered = kind.ordered
                    option = (
                        trial.suggest_int(name, 0, last)
                        if ordered
                        else trial.suggest_categorical(name, range(last + 1))
                    )
                chosen = (*chosen, int(option))
        except ImportError as error:
            raise UsageError(
                f"strategy.sampler={self.sampler} needs {error.name}, which is not installed: "
                "pip install 'cellnas[optuna]'"
            ) from None
        except Exception as error:
            raise UsageError(
                f"strategy.sampler={self.sampler} failed with strategy.options={dict(self.options)}: {located(error)}"
            ) from error
        return self.space.reduced(chosen)


def _of_study(proposal: Proposal) -> Mapping[str, Any]:
    """What the sampler that made a proposal wrote about the study."""
    written: Mapping[str, Any] = proposal.info.get("optuna", {}).get("study", {})
    return written
