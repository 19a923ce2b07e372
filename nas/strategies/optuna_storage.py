"""A storage of Optuna that shows a sampler the trials of a search, and lets it ask for one more.

Made anew for each proposal: what a sampler writes about the new trial or the study is read from it afterwards and kept
with the proposal, so that a search is resumed from its trials.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.core import Proposal
from nas.space.base import SearchSpace
from nas.space.decisions import Decision

STUDY, NAME = 0, "search"
MOMENT = datetime(2000, 1, 1)
"""When every trial ran: a sampler asks only whether it did."""


def distribution(kind: Decision) -> BaseDistribution:
    """The positions of the options of a decision, in the terms of Optuna."""
    return IntDistribution(0, len(kind) - 1) if kind.ordered else CategoricalDistribution(range(len(kind)))


def frozen(space: SearchSpace, number: int, proposal: Proposal, state: TrialState, score: float | None) -> FrozenTrial:
    """A trial of a search in the terms of Optuna.

    Args:
        score: Score of a completed trial; None for others.
    """
    active = space.active(proposal.architecture)
    suggested = {name: kind for name, kind in space.decisions.items() if name in active and len(kind) > 1}
    positions = dict(zip(space.choices, proposal.architecture, strict=True))
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=score,
        datetime_start=MOMENT,
        datetime_complete=MOMENT if state.is_finished() else None,
        params={name: positions[name] for name in suggested},
        distributions={name: distribution(kind) for name, kind in suggested.items()},
        user_attrs={},
        system_attrs=dict(proposal.info.get("optuna", {}).get("trial", {})),
        intermediate_values={},
    )


class SearchStorage(BaseStorage):
    """One study, which maximises.

    Args:
        trials: Trials of the study, in order.
        attributes: What samplers wrote about the study.
    """

    def __init__(self, trials: Sequence[FrozenTrial], attributes: dict[str, Any]) -> None:
        self.trials = list(trials)
        self.attributes = attributes

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = len(self.trials)
        trial = FrozenTrial(number, TrialState.RUNNING, None, MOMENT, None, {}, {}, {}, {}, {}, number)
        self.trials.append(trial)
        return number

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        trial = self.trials[trial_id]
        trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
        trial.distributions = {**trial.distributions, param_name: distribution}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.trials[trial_id].system_attrs = {**self.trials[trial_id].system_attrs, key: value}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.trials[trial_id]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self.trials if states is None or trial.state in states]

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.attributes[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return dict(self.attributes)

    def get_study_id_from_name(self, study_name: str) -> int:
        return STUDY

    def get_study_name_from_id(self, study_id: int) -> str:
        return NAME

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MAXIMIZE]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("no sampler asks for this")

    create_new_study = delete_study = set_study_user_attr = get_all_studies = _unused
    set_trial_state_values = set_trial_intermediate_value = set_trial_user_attr = _unused
