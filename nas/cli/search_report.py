"""What `nas search` prints at its end: a JSON document, or a report with the commands that follow."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.output import print_next
from nas.cli.rerun import code_arguments, config_dir_arguments, store_arguments
from nas.cli.trial_table import print_trials
from nas.config.settings import recorded_parts
from nas.core import Objective, Trial
from nas.engine.search import SearchResult
from nas.errors import NOT_IN_TABLE, UserError
from nas.evaluators.base import SupportsReporting, SupportsSharedWeights, reporter_of
from nas.formatting import plural
from nas.store.leaderboard import leaderboard

if TYPE_CHECKING:
    import torch

    from nas.config.settings import Settings
    from nas.space.base import SearchSpace
    from nas.store.base import Store
    from nas.studies.rank_correlation import RankCorrelation

FULL_RECIPE = "nasbench201"
"""The trainer option for final results."""


@dataclass(frozen=True)
class FinishedSearch:
    """A finished search with its parts."""

    result: SearchResult
    space: SearchSpace
    evaluator: Any
    store: Store
    objective: Objective
    device: torch.device

    def reported(self) -> Mapping[str, float]:
        """The benchmark's results of the best architecture, which the search did not see; empty without any."""
        best = self.result.best
        reporter = reporter_of(self.evaluator)
        if best is None or reporter is None:
            return {}
        return dict(reporter.reported(best.proposal.architecture))

    def not_in_table(self) -> int:
        """Number of trials that are missing from a table of a sample."""
        return sum(trial.error_kind == NOT_IN_TABLE for trial in self.result.trials)

    def rank_correlation(self) -> RankCorrelation | None:
        """How well an evaluator with shared weights ranks the architectures of the run."""
        if not isinstance(self.evaluator, SupportsSharedWeights) or not self.evaluator.is_trained:
            return None
        from nas.studies.rank_correlation import rank_correlation

        evaluator, trials, device = self.evaluator, self.result.trials, str(self.device)
        entries = [entry for group in leaderboard(self.store, self.result.run, top=0) for entry in group]

        def restore() -> None:
            evaluator.train_weights(device, trials, lambda _epochs, _curve: None)

        try:
            return rank_correlation(evaluator, entries, device, restore)
        except UserError as error:  # the search itself succeeded
            print(f"nas: Kendall's tau could not be computed: {error}", file=sys.stderr)
            return None


def summary(finished: FinishedSearch) -> dict[str, Any]:
    """The result as JSON-safe data."""
    result, best = finished.result, finished.result.best
    facts: dict[str, Any] = {
        "run": result.run,
        "trials": len(result.trials),
        "failed": _failed(result),
        "not_in_table": finished.not_in_table(),
        "ended": result.ended,
        "best": None,
    }
    if best is not None:
        metric, reported = finished.objective.metric, finished.reported()
        facts["best"] = {
            "number": best.number,
            "arch": best.text,
            metric: best.metrics[metric],
            "metrics": dict(best.metrics),
            "notes": notes(best),
            **(
                {"reported": reported}
                if isinstance(finished.evaluator, SupportsReporting | SupportsSharedWeights)
                else {}
            ),
        }
    correlation = finished.rank_correlation()
    return facts | ({"rank_correlation": asdict(correlation)} if correlation else {})


def print_report(finished: FinishedSearch, settings: Settings, folder: Path) -> None:
    """Print the result as text.

    Args:
        finished: The finished search with its parts.
        settings: Settings of the command.
        folder: Folder of the run's files.
    """
    result = finished.result
    earlier = f" ({result.resumed} from an earlier session)" if result.resumed else ""
    missing = f" ({count} of them not in the table)" if (count := finished.not_in_table()) else ""
    print(f"run {result.run!r}: {plural(len(result.trials), 'trial')}{earlier}, {_failed(result)} failed{missing}")
    for entries in leaderboard(finished.store, result.run, top=5):
        print_trials(entries, several=False)
    if result.best is not None:
        _print_best(finished, result.best)
    print()
    print_next([(shlex.join(words), note) for words, note in _next_commands(finished, settings, folder)])


def _failed(result: SearchResult) -> int:
    return sum(not trial.completed for trial in result.trials)


def _print_best(finished: FinishedSearch, best: Trial) -> None:
    print(f"best architecture (trial {best.number}):")
    print(decisions(finished.space, best))
    for trial in finished.result.trials:
        for note in notes(trial):
            print(f"trial {trial.number}: {note}")
    if reported := finished.reported():
        values = "; ".join(f"{name} {value:.6g}" for name, value in reported.items())
        print(f"benchmark results (not visible to the search): {values}")
    correlation = finished.rank_correlation()
    if correlation is not None:
        is_sample = correlation.n != correlation.of
        sample = f" of {correlation.of}, evenly spread over their ranking" if is_sample else ""
        print(
            f"Kendall's tau between the supernet's scores and {correlation.against}: {correlation.tau:.2f} "
            f"(n = {correlation.n}{sample}, p = {correlation.p_value:.2g})"
        )


def _next_commands(finished: FinishedSearch, settings: Settings, folder: Path) -> list[tuple[list[str], str]]:
    """Commands that follow a search, each with a note."""
    store = store_arguments(settings)
    nas = ["nas", *config_dir_arguments(settings.config_dir)]
    run = f"run={finished.result.run}"
    code = code_arguments(recorded_parts({**settings.tree(), "choices": settings.choices}))
    commands = [
        ([*nas, "leaderboard", run, "top=0", *store], "all trials"),
        (["tensorboard", "--logdir", str(folder / "tensorboard")], "curves"),
    ]
    if finished.result.best is not None:
        # the full recipe takes about a day on two CPU cores
        trainer = settings.choices["trainer"] if finished.device.type == "cpu" else FULL_RECIPE
        retrain = [*nas, "retrain", run, "trial=best", *store, *code, f"trainer={trainer}"]
        commands += [
            (retrain, "train the winner from scratch, and test it"),
            ([*nas, "export", run, "trial=best", *store, *code], "export the winner"),
        ]
    return commands


def notes(trial: Trial) -> list[str]:
    """Remarks of a search on a supernet about its result."""
    info = trial.proposal.info
    stopped = info.get("stopped_early_at")
    early = [] if stopped is None else [f"the search stopped early and used the cell of epoch {stopped}"]
    return [*early, *([f"warning: {info['collapse']}"] if "collapse" in info else [])]


def decisions(space: SearchSpace, trial: Trial) -> str:
    """An architecture as a list of the decisions that matter, one per line."""
    chosen = space.settings(trial.proposal.architecture)
    width = max(map(len, chosen), default=0)
    return "\n".join(f"  {name:{width}}  {option}" for name, option in chosen.items())
