"""A run of the store as a report."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.analysis.accuracy import least_images, newcombe, wilson
from nas.analysis.importance import MIN_TRIALS, importance
from nas.core import Trial
from nas.identity import DECISIONS
from nas.report.document import Chart, Document, Facts, Line, Picture, Style, Table, plain
from nas.report.trials import protocol_keys, trial_table
from nas.report.wording import STATES, metric_label, metric_style
from nas.store.base import Retraining, Run, RunStatus, Store
from nas.store.entries import epochs
from nas.store.facts import PARTS, RUN_FACTS, decisions_of
from nas.store.faults import fault
from nas.store.leaderboard import named_run

MAX_STEPS = 40
"""Largest number of improvements that are listed; of more, the last."""
MAX_DOTS = 500
"""Largest number of trials that a chart shows; of more, evenly spaced ones."""
MAX_EFFECTS = 12
MAX_FAILURES = 8


@dataclass(frozen=True)
class RunFacts:
    """What sections about a run share.

    Args:
        run: The run.
        status: Where it stands.
        trials: Its trials by number.
        style: How its metric is shown.
        ranked: Completed trials without a known fault that are comparable with the best, best first.
        images: Number of images behind its accuracies; None if it is not known.
    """

    run: Run
    status: RunStatus
    trials: Sequence[Trial]
    style: Style
    ranked: Sequence[Trial]
    images: int | None

    def value(self, trial: Trial) -> float:
        """The metric of a completed trial."""
        return trial.metrics[self.run.objective.metric]


def run_document(
    store: Store,
    name: str,
    *,
    commands: Mapping[str, str] | None = None,
    pictures: Mapping[str, Picture] | None = None,
    left_out: Sequence[str] = (),
) -> Document:
    """The report of a run.

    Args:
        store: Store of the run.
        name: Name of the run.
        commands: Name -> command line that repeats a part of it.
        pictures: Pictures of the best architecture's cells or of its network.
        left_out: Sentences on what the caller could not provide.

    Raises:
        UserError: The store does not exist, cannot be read, or has no such run.
    """
    known = read_run(store, name)
    run, best = known.run, known.ranked[0] if known.ranked else None
    charts, steps = _progress(known)
    retrained = [one for one in store.retrainings() if best is not None and _is_of(one, run, best)]
    facts: dict[str, Any] = {
        "run": _about(known),
        "metric": {
            "name": run.objective.metric,
            "label": metric_label(run.objective.metric),
            "direction": run.objective.direction,
            "style": known.style,
            "images": known.images,
        },
        "parts": _parts(run),
        "best": None if best is None else _best(known, best),
        "typical": _typical(known),
        "runner_up": _runner_up(known),
        "drawn": bool(pictures),
        "steps": steps[-MAX_STEPS:],
        "importance": _importance(known),
        "cost": _cost(known),
        "retrained": [_retrained(one) for one in retrained],
        "commands": [{"name": key, "command": command} for key, command in (commands or {}).items()],
        "versions": [{"name": key, "value": str(value)} for key, value in run.environment.items()],
        "settings": [{"key": key, "value": value} for key, value in _flat(run.config)],
    }
    table: Table | None = trial_table(run, known.trials, known.style) if known.trials else None
    title = f"Report of run {run.name}"
    return Document("run", title, plain(facts), charts, dict(pictures or {}), table, left_out=tuple(left_out))


def read_run(store: Store, name: str) -> RunFacts:
    """A run with its trials in the order of their quality."""
    run = named_run(store, name)
    trials = store.trials(name)
    objective = run.objective
    completed = [
        one for one in trials if one.completed and fault(one, run.config) is None and _is_finite(objective.metric, one)
    ]
    best = objective.best(completed)
    ranked: list[Trial] = []
    if best is not None:
        keys = protocol_keys(run, completed)
        alike = [one for one in completed if keys[one.proposal.fidelity] == keys[best.proposal.fidelity]]
        ranked = sorted(alike, key=lambda one: (-objective.score(one), one.number))
    values = [one.metrics[objective.metric] for one in ranked]
    style = metric_style(objective.metric, values)
    images = least_images(values) if style == "percent" and run.evaluation.table is None else None
    return RunFacts(run, store.status(name), trials, style, ranked, images)


def _is_finite(metric: str, trial: Trial) -> bool:
    return math.isfinite(trial.metrics.get(metric, math.nan))


def _is_of(retraining: Retraining, run: Run, best: Trial) -> bool:
    return retraining.run == run.name and retraining.trial == best.number


def _about(known: RunFacts) -> Facts:
    run, status, trials = known.run, known.status, known.trials
    return {
        "name": run.name,
        "seed": run.seed,
        "state": status.state,
        "state_text": STATES[status.state],
        "trials": len(trials),
        "completed": sum(one.completed for one in trials),
        "failed": sum(not one.completed for one in trials),
        "planned": status.planned,
        "reused": sum(one.reused_from is not None for one in trials),
        "comparable": len(known.ranked),
        "decisions": len(run.config.get(DECISIONS) or ()) or None,
        "possible": math.prod(len(options) for _, options in run.config.get(DECISIONS) or ()) or None,
        "started": status.started,
        "updated": status.updated,
        "seconds": status.seconds,
    }


def _parts(run: Run) -> Facts:
    """Part -> its option; a benchmark table's results depend on neither the images nor the training."""
    hidden = ("data", "trainer") if run.evaluation.table is not None else ()
    return {part: RUN_FACTS[part](run) for part in PARTS if part not in hidden}


def _interval(known: RunFacts, value: float) -> Facts:
    if known.images is None:
        return {"low": None, "high": None}
    found = wilson(value, known.images)
    return {"low": found.low, "high": found.high}


def _best(known: RunFacts, best: Trial) -> Facts:
    value = known.value(best)
    return {
        "trial": best.number,
        "value": value,
        **_interval(known, value),
        "seconds": best.seconds,
        "epochs": epochs(known.run, best),
        "parameters": best.metrics.get("parameters"),
        "flops": best.metrics.get("flops"),
        "text": best.text,
        "decisions": [{"name": name, "option": str(option)} for name, option in decisions_of(known.run, best).items()],
    }


def _typical(known: RunFacts) -> Facts | None:
    if len(known.ranked) < 3:
        return None
    values = [known.value(one) for one in known.ranked]
    first = min(known.ranked, key=lambda one: one.number)
    return {"median": statistics.median(values), "worst": values[-1], "first": known.value(first)}


def _runner_up(known: RunFacts) -> Facts | None:
    """The best trial that computes another function than the winner, and whether the difference is more than noise."""
    if not known.ranked:
        return None
    best = known.ranked[0]
    second = next((one for one in known.ranked if one.canonical != best.canonical), None)
    if second is None:
        return None
    one, other = known.value(best), known.value(second)
    low = high = None
    verdict = "unknown"
    if known.images is not None:
        found = newcombe(one, known.images, other, known.images)
        low, high = found.low, found.high
        verdict = "more" if found.excludes_zero else "noise"
    within = (
        sum(known.value(trial) >= known_low for trial in known.ranked)
        if (known_low := _interval(known, one)["low"]) is not None
        else None
    )
    return {
        "trial": second.number,
        "value": other,
        **_interval(known, other),
        "text": second.text,
        "difference": one - other,
        "difference_low": low,
        "difference_high": high,
        "verdict": verdict,
        "within": within,
    }


def _progress(known: RunFacts) -> tuple[dict[str, Chart], list[Facts]]:
    """Charts of the best result so far, and its improvements."""
    if not known.ranked:
        return {}, []
    objective, comparable = known.run.objective, {one.number for one in known.ranked}
    simulated = any("simulated_seconds" in one.metrics for one in known.trials)
    spent, best, steps = 0.0, -math.inf, list[dict[str, Any]]()
    dots: list[tuple[int, float, float]] = []
    for count, trial in enumerate(known.trials, start=1):
        spent += trial.metrics.get("simulated_seconds", 0.0) if simulated else trial.seconds
        if trial.number not in comparable:
            continue
        dots.append((count, spent, known.value(trial)))
        if objective.score(trial) > best:
            best = objective.score(trial)
            steps.append({"trial": trial.number, "count": count, "seconds": spent, "value": known.value(trial)})
    shown = dots[:: max(1, math.ceil(len(dots) / MAX_DOTS))]
    label = metric_label(objective.metric)
    alt = (
        f"The best result so far improved {len(steps) - 1} times, from the first to the last of {len(known.trials)} "
        "trials. The table of improvements has the values."
    )
    charts = {}
    for name, x_label, key, index, total in (
        ("by_trials", "trials", "count", 0, float(len(known.trials))),
        ("by_time", "simulated time" if simulated else "time spent on trials", "seconds", 1, spent),
    ):
        line = Line(
            "best so far",
            [*(step[key] for step in steps), total],
            [*(s["value"] for s in steps), steps[-1]["value"]],
            steps=True,
        )
        charts[name] = Chart(
            f"Best result so far by {x_label}", x_label, label, [line], alt,
            ([dot[index] for dot in shown], [dot[2] for dot in shown]), known.style,
            "count" if index == 0 else "seconds",
        )  # fmt: skip
    return charts, list(steps)


def _importance(known: RunFacts) -> Facts:
    recorded = known.run.config.get(DECISIONS) or []
    names, sizes = [name for name, _ in recorded], [len(options) for _, options in recorded]
    needed = max(MIN_TRIALS, 2 * len(names))
    facts: dict[str, Any] = {"state": "few", "trials": len(known.ranked), "needed": needed, "effects": []}
    if not names:
        return facts | {"state": "unrecorded"}
    if any(len(one.proposal.architecture) != len(names) for one in known.ranked):
        return facts | {"state": "unrecorded"}
    sign = 1.0 if known.run.objective.direction == "maximize" else -1.0
    found = importance(
        names,
        sizes,
        [one.proposal.architecture for one in known.ranked],
        [sign * known.value(one) for one in known.ranked],
    )
    if found is None:
        return facts | {"state": "few" if len(known.ranked) < needed else "equal"}
    facts |= {"trials": found.trials, "explained": found.explained, "interactions": found.interactions}
    if not found.effects:
        return facts | {"state": "unclear"}
    options = {name: [str(option) for option in each] for name, each in recorded}
    effects = []
    for effect in found.effects[:MAX_EFFECTS]:
        order = sorted(range(len(effect.means)), key=lambda index: -effect.means[index])
        effects.append(
            {
                "decision": effect.decision,
                "share": effect.share,
                "better": options[effect.decision][order[0]],
                "better_mean": sign * effect.means[order[0]],
                "worse": options[effect.decision][order[-1]],
                "worse_mean": sign * effect.means[order[-1]],
            }
        )
    return facts | {"state": "known", "effects": effects, "more": max(0, len(found.effects) - MAX_EFFECTS)}


def _cost(known: RunFacts) -> Facts:
    trained = [one.seconds for one in known.trials if one.reused_from is None]
    memory = [one.cost["peak_memory_mb"] for one in known.trials if "peak_memory_mb" in one.cost]
    simulated = [one.metrics["simulated_seconds"] for one in known.trials if "simulated_seconds" in one.metrics]
    failed = [one for one in known.trials if not one.completed]
    messages = {one.error_kind or "error": one.error for one in reversed(failed)}
    kinds = Counter(one.error_kind or "error" for one in failed)
    return {
        "seconds": math.fsum(trained),
        "median_seconds": statistics.median(trained) if trained else None,
        "longest_seconds": max(trained, default=None),
        "simulated_seconds": math.fsum(simulated) if simulated else None,
        "peak_memory_mb": max(memory, default=None),
        "failures": [
            {"kind": kind, "count": count, "message": messages[kind]} for kind, count in kinds.most_common(MAX_FAILURES)
        ],
    }


def _retrained(one: Retraining) -> Facts:
    return {
        "seed": one.seed,
        "test_accuracy": one.metrics.get("test_accuracy"),
        "seconds": one.seconds,
        "recipe": one.training.recipe_description(),
        "folder": one.folder,
    }


HIDDEN_KEYS = (DECISIONS, "kinds", "conditions", "store", "minimized", "scheduling")
"""Settings of a run that another section shows, or that follow from others."""


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted keys and values of the settings that have a value."""
    flat: list[tuple[str, str]] = []
    for key, value in tree.items():
        is_reference = isinstance(value, str) and value.startswith("${")
        if (not prefix and key in HIDDEN_KEYS) or str(key).startswith("_") or value is None or is_reference:
            continue
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", str(value)))
    return flat
