"""Searches of a store as the runs of a comparison: labelled by what differs, and grouped by what may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.analysis.results import RunResult
from nas.core import Trial
from nas.errors import NOT_IN_TABLE
from nas.evaluators.base import SupportsReporting
from nas.identity import identifying
from nas.store.base import Run, is_free
from nas.studies.comparison import incumbent_changes

COMPARED_BESIDE = ("budget",)
"""Settings that may change when a run is resumed, and still make a difference between strategies."""
MAX_LABEL_LENGTH = 90


@dataclass(frozen=True)
class SearchGroup:
    """Finished searches that may be compared with each other.

    Args:
        name: Space, data set and key of the protocol, for the name of a folder.
        runs: The searches.
        labels: Label of each search, by the name of its run: its strategy, and what else differs.
    """

    name: str
    runs: Sequence[Run]
    labels: Mapping[str, str]


def grouped(runs: Sequence[Run]) -> list[SearchGroup]:
    """Groups of searches that may be compared, the largest first.

    Args:
        runs: Finished searches.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.evaluation.key(run.config, None), []).append(run)
    named = []
    for key, members in groups.items():
        choices = members[0].config.get("choices") or {}
        name = "-".join(str(choices[part]) for part in ("space", "data") if choices.get(part))
        named.append(SearchGroup(f"{name}-{key}" if name else key, members, labels(members)))
    return sorted(named, key=lambda group: -len(group.runs))


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """Run -> its strategy and the settings in which searches of this strategy differ, apart from the seed."""
    flat = {run.name: _flat(identifying(run.config)) for run in runs}
    strategies: dict[str, list[str]] = {}
    for run in runs:
        strategies.setdefault(_strategy(run), []).append(run.name)
    result = {}
    for strategy, names in strategies.items():
        keys = sorted({key for name in names for key in flat[name]})
        differing = [key for key in keys if len({repr(flat[name].get(key)) for name in names}) > 1]
        for name in names:
            parts = [f"{key.removeprefix('strategy.')}={flat[name].get(key)}" for key in differing]
            label = f"{strategy}({','.join(parts)})" if parts else strategy
            result[name] = label if len(label) <= MAX_LABEL_LENGTH else f"{label[:MAX_LABEL_LENGTH]}…"
    return result


def search_result(
    run: Run, label: str, trials: Sequence[Trial], seconds: float | None, reporter: SupportsReporting | None
) -> RunResult | None:
    """A finished search as a run of a comparison; None if none of its trials completed.

    Args:
        run: The search.
        label: Its label.
        trials: All its trials by number.
        seconds: Its wall time; None: that of its evaluations.
        reporter: Reports the compared metrics; None: its objective is compared.
    """
    best = run.objective.best(trials)
    if best is None:
        return None
    costs = [trial.metrics["simulated_seconds"] for trial in trials if "simulated_seconds" in trial.metrics]
    return RunResult(
        label,
        run.seed,
        len(trials),
        sum(costs) if costs else None,
        sum(trial.seconds for trial in trials) if seconds is None else seconds,
        best.text,
        tuple(incumbent_changes(trials, run.objective, reporter)),
        sum(trial.error_kind == NOT_IN_TABLE for trial in trials),
    )


def _strategy(run: Run) -> str:
    choices, strategy = run.config.get("choices") or {}, run.config.get("strategy")
    if choices.get("strategy"):
        return str(choices["strategy"])
    kind = strategy.get("type") if isinstance(strategy, Mapping) else strategy  # made in Python
    return str(kind).rpartition(".")[2]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of the settings that make a difference between searches."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in ("seed", "decisions", *(f"choices.{part}" for part in ("strategy", "launcher"))):
            continue
        if is_free(name) and name.partition(".")[0] not in COMPARED_BESIDE:
            continue
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
