"""Search a space for the best architecture.

The same command again goes on where an earlier one was interrupted or had a smaller budget.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.commands.leaderboard import show
from nas.cli.output import print_json, run_folder
from nas.cli.rerun import place
from nas.core import Objective, Trial
from nas.engine.budget import Budget
from nas.engine.search import SearchResult, search
from nas.engine.trial import last_error
from nas.errors import NOT_IN_TABLE, UsageError, UserError
from nas.evaluators.base import SupportsReporting, SupportsSharedWeights, reporter_of
from nas.formatting import plural
from nas.identity import identifying
from nas.listeners.progress import Progress
from nas.listeners.tensorboard import TensorBoard
from nas.store.base import FREE_KEYS, NoStore, check_run_name
from nas.store.leaderboard import leaderboard
from nas.studies.rank_correlation import RankCorrelation, rank_correlation
from nas.training.device import resolve_device
from nas.validation import one_of

if TYPE_CHECKING:
    from nas.config.settings import Settings
    from nas.space.base import SearchSpace
    from nas.store.base import Store
    from nas.supernets.base import SupernetSearcher

DEFAULT_TRIALS = 20
GRADIENT_TRIALS = 1
"""Of a strategy that learns on a supernet: a trial is a whole search."""


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "json"))
    gradient = settings.choices.get("supernet") is not None and "supernet" not in settings.evaluated()
    budget = budget_of(settings, GRADIENT_TRIALS if gradient else DEFAULT_TRIALS)
    objective = Objective(**settings.get("objective"))
    device = resolve_device(settings.get("device"))
    config = settings.tree() | {"device": device.type, "choices": dict(settings.choices)}
    if settings.config_dir is not None:  # later commands on the run need it too, and say so where it is missing
        config["config_dir"] = str(settings.config_dir.absolute())
    del config["choices"]["experiment"]  # only a shorter way to say the rest
    if settings.choices["evaluator"] != "table":  # another one only holds its scores against a table, afterwards
        config.pop("table", None)
        del config["choices"]["table"]
    space = settings.make("space")
    store = settings.make("store")
    run = automatic_name(config, stored_names(store)) if settings.get("run") is None else settings.get("run")
    check_run_name(run)
    evaluator = settings.make("evaluator", space=space)
    folder = run_folder(settings.get("dir"), run).absolute()  # once: an evaluator may change the current folder
    if isinstance(evaluator, SupportsSharedWeights):
        evaluator.checkpoint_dir = folder / "checkpoints"
    listeners: list[Any] = [TensorBoard(folder / "tensorboard")]
    if settings.get("progress"):
        listeners.append(Progress())
    try:
        result = search(
            space,
            settings.factory("strategy"),
            evaluator,
            budget=budget,
            seed=settings.get("seed"),
            objective=objective,
            duplicates=settings.get("duplicates"),
            device=str(device),
            executor=settings.make("executor"),
            supernets=_gradient_search(settings, space, folder) if gradient else None,
            store=store,
            run=run,
            config=config,
            listeners=listeners,
        )
    except KeyboardInterrupt:
        command = resume_command(settings, run)
        kept = "every finished trial is stored" + (" and the last epoch of the search kept" if gradient else "")
        print(f"\ninterrupted; {kept}. Go on with:\n  {command}", file=sys.stderr)
        return 130
    if settings.get("format") == "json":
        found = _agreement(settings, result, evaluator, store)
        print_json(_summary(result, objective, evaluator) | ({"agreement": asdict(found)} if found else {}))
    else:
        _report(settings, result, space, evaluator, store)
    if result.best is None or result.ended == "failures":
        what = "the search ended with failing trials; the last one said" if result.trials else "no trial was made"
        print(f"nas: {what}: {last_error(result.trials, result.ended)}", file=sys.stderr)
        return 1
    return 0


def _gradient_search(settings: Settings, space: SearchSpace, folder: Path) -> SupernetSearcher:
    from nas.supernets.gradient import GradientSearch

    if settings.get("supernet.epochs") != settings.get("strategy.epochs"):
        raise UsageError(
            f"supernet.epochs={settings.get('supernet.epochs')} has no effect; a search is as long as strategy.epochs"
        )
    course = {"space": settings.node("space"), "strategy": settings.node("strategy")}
    return GradientSearch(space, settings.make("data"), settings.make("supernet"), folder / "checkpoints", course)


def budget_of(settings: Settings, trials: int) -> Budget:
    """The budget; so many trials where no other limit is set."""
    limits = dict(settings.get("budget"))
    if all(limits[key] is None for key in ("trials", "hours", "simulated_seconds")):
        limits["trials"] = trials
    return Budget(**limits)


def automatic_name(config: dict[str, Any], stored: Collection[str] = ()) -> str:
    """A run's name from its settings, so that the same command continues the same run.

    Args:
        config: Settings of the run.
        stored: Names of the runs in the store. Versions up to 0.2.0 made names from class paths too; such a name is
            taken where the store has it.
    """
    earlier = _name(config, class_paths=True)
    return earlier if earlier in stored else _name(config)


def _name(config: Mapping[str, Any], *, class_paths: bool = False) -> str:
    choices = config["choices"]
    identity = identifying(config, class_paths=class_paths)
    kept = {key: value for key, value in identity.items() if key not in FREE_KEYS}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "root"}
    digest = hashlib.blake2b(json.dumps(kept, sort_keys=True, default=str).encode(), digest_size=3).hexdigest()
    return f"{choices['space']}-{choices['strategy']}-{choices['data']}-{digest}"


def stored_names(store: Store) -> set[str]:
    """Names of the runs of a store that may not exist yet."""
    try:
        return {run.name for run in store.runs()}
    except NoStore:
        return set()


def resume_command(settings: Settings, run: str) -> str:
    """The command that continues a run, as it can be pasted into a shell."""
    words = [word for word in settings.arguments if not word.startswith("run=")]
    return shlex.join(["nas", *place(settings.config_dir), "search", *words, f"run={run}"])


def _summary(result: SearchResult, objective: Objective, evaluator: Any) -> dict[str, Any]:
    best = result.best
    reported = {}
    if best is not None and isinstance(evaluator, SupportsReporting | SupportsSharedWeights):
        reporter = reporter_of(evaluator)
        reported = {"reported": {} if reporter is None else dict(reporter.reported(best.proposal.architecture))}
    return {
        "run": result.run,
        "trials": len(result.trials),
        "failed": sum(not trial.completed for trial in result.trials),
        "not_in_table": _missing(result),
        "ended": result.ended,
        "best": best
        and {
            "number": best.number,
            "arch": best.text,
            objective.metric: best.metrics[objective.metric],
            "metrics": dict(best.metrics),
            "notes": notes(best),
            **reported,
        },
    }


def _missing(result: SearchResult) -> int:
    """Trials that a table of a sample does not have."""
    return sum(trial.error_kind == NOT_IN_TABLE for trial in result.trials)


def _agreement(settings: Settings, result: SearchResult, evaluator: Any, store: Store) -> RankCorrelation | None:
    """How an evaluator with weights of its own ranks the architectures of the run."""
    if not isinstance(evaluator, SupportsSharedWeights) or not evaluator.is_trained:
        return None
    device = settings.get("device")
    entries = [entry for group in leaderboard(store, result.run, top=0) for entry in group]

    def begin() -> None:
        evaluator.train_weights(device, result.trials, lambda _epochs, _curve: None)

    try:
        return rank_correlation(evaluator, entries, device, begin)
    except UserError as error:  # the search itself is whole
        print(f"nas: no Kendall's tau: {error}", file=sys.stderr)
        return None


def _report(settings: Settings, result: SearchResult, space: SearchSpace, evaluator: Any, store: Store) -> None:
    failed = sum(not trial.completed for trial in result.trials)
    before = f", {result.resumed} of them from before" if result.resumed else ""
    missing = _missing(result)
    sample = f" ({missing} of them not in the table)" if missing else ""
    print(f"run {result.run!r}: {plural(len(result.trials), 'trial')}, {failed} failed{sample}{before}")
    for entries in leaderboard(store, result.run, top=5):
        show(entries, several=False)
    if result.best is not None:
        print(f"best cell (trial {result.best.number}):")
        print(cell_text(space, result.best))
        for trial in result.trials:
            for note in notes(trial):
                print(f"trial {trial.number}: {note}")
        reporter = reporter_of(evaluator)
        found = {} if reporter is None else reporter.reported(result.best.proposal.architecture)
        if found:
            values = "; ".join(f"{name} {value:.6g}" for name, value in found.items())
            print(f"of it the table reports, unseen by the search: {values}")
        agreed = _agreement(settings, result, evaluator, store)
        if agreed is not None:
            part = "" if agreed.n == agreed.of else f" of {agreed.of}, evenly spread over their ranking"
            print(
                f"Kendall's tau of the supernet's scores and {agreed.against}: {agreed.tau:.2f} "
                f"(n = {agreed.n}{part}, p = {agreed.p_value:.2g})"
            )
    url = settings.get("store.url")
    where = [] if url in (None, "sqlite:///nas.db") else [f"store.url={url}"]
    run = f"run={result.run}"
    own = place(settings.config_dir)
    folder = run_folder(settings.get("dir"), result.run) / "tensorboard"
    # the whole recipe takes about a day on two CPU cores
    cpu = resolve_device(settings.get("device")).type == "cpu"
    size = ["trainer.epochs=4", "trainer.network={channels: 8, cells: null}"] if cpu else []
    print("\nNext:")
    for note, words in (
        ("all trials", ["nas", *own, "leaderboard", run, "top=0", *where]),
        ("curves", ["tensorboard", "--logdir", str(folder)]),
        (
            f"train the winner{' a little' if cpu else ''} and test it",
            ["nas", *own, "retrain", run, "trial=best", *where, *size],
        ),
        ("take the winner along", ["nas", *own, "export", run, "trial=best", *where]),
    ):
        if result.best is not None or "trial=best" not in words:
            print(f"  {shlex.join(words)}   # {note}")


def notes(trial: Trial) -> list[str]:
    """What a search on a supernet has to say of its outcome."""
    info = trial.proposal.info
    stopped = info.get("stopped_early_at")
    early = [] if stopped is None else [f"the search ended early and took the cell of epoch {stopped}"]
    return [*early, *([f"warning: {info['collapse']}"] if "collapse" in info else [])]


def cell_text(space: SearchSpace, trial: Trial) -> str:
    """An architecture as a list of its decisions."""
    names = list(space.choices)
    width = max(map(len, names), default=0)
    options = space.options(trial.proposal.architecture)
    return "\n".join(f"  {name:{width}}  {option}" for name, option in zip(names, options, strict=True))
