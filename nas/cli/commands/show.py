"""Show a run, or one of its trials: settings, environment, results, error, and the commands to repeat it.

nas show run=R prints the state of the run, its protocol, environment and settings; with trial=N or trial=best it prints
the architecture with its decisions, metrics, curve and retrainings, and the traceback of a trial that failed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.cli.output import print_json, print_table
from nas.cli.rerun import code_arguments, config_dir_arguments, search_command, shown_arguments
from nas.cli.run_status import progress, since, status_row
from nas.config.settings import recorded_parts
from nas.core import Trial
from nas.errors import UsageError
from nas.formatting import plural
from nas.identity import CONDITIONS, DECISIONS, KINDS
from nas.store.base import Retraining, Run, RunStatus, Store
from nas.store.entries import protocol_key, retrained_row
from nas.store.facts import decisions_of
from nas.store.faults import fault
from nas.store.leaderboard import find_trial, named_run
from nas.validation import one_of

if TYPE_CHECKING:
    from nas.config.settings import Settings

MAX_EPOCHS = 12
"""Epochs of a curve that are printed; the first and the last are always among them."""
HIDDEN_SETTINGS = (DECISIONS, CONDITIONS, KINDS, "choices")
"""Settings of a run that are shown in another form."""


@dataclass(frozen=True)
class ShowOptions(CommandOptions):
    """Settings of `nas show`; `configs/show.yaml` describes them."""

    run: str | None
    trial: str | int | None
    format: str

    def __post_init__(self) -> None:
        one_of("format", self.format, RESULT_FORMATS)


def main(settings: Settings) -> int:
    options = ShowOptions.of(settings)
    store = settings.make("store")
    if options.trial is None:
        _show_run(settings, options, store, named_run(store, options.run))
    else:
        _show_trial(settings, options, store, *find_trial(store, options.run, options.trial))
    return 0


def _show_run(settings: Settings, options: ShowOptions, store: Store, run: Run) -> None:
    status = store.status(run.name)
    command = _search_again(settings, run, max(status.trials, status.planned or 0) - 1)
    if options.format == "json":
        facts = {key: value for key, value in status_row(status).items() if key != "run"}
        stored = {"seed": run.seed, "config": run.config, "protocol": run.protocol, "environment": run.environment}
        print_json({"run": run.name, **facts, **stored, "commands": {"search": command}})
        return
    _print_status(status)
    choices = {group: option for group, option in (run.config.get("choices") or {}).items() if option is not None}
    _print_yaml("parts", choices)
    _print_yaml("settings", {key: value for key, value in run.config.items() if key not in HIDDEN_SETTINGS})
    _print_yaml("protocol", run.protocol)
    _print_yaml("environment", run.environment)
    next_commands = [command] if command else []
    if status.best is not None:
        next_commands += [_own_command(settings, "show", run.name, "trial=best")]
    _print_commands([*next_commands, _own_command(settings, "leaderboard", run.name)])


def _print_status(status: RunStatus) -> None:
    row = status_row(status)
    print(f"run {status.run.name!r}: {status.state}, {progress(status)} trials, {status.failed} failed")
    if status.best is not None:
        print(f"best: {row['metric']} {row['best']:.4f} (trial {status.best})")
    if status.updated is not None:
        print(f"last activity: {since(status.updated)} ({status.updated})")
    if status.owner is not None:
        print(f"{'owner' if status.state == 'running' else 'last owner'}: {status.owner}")
    if status.seconds is not None:
        print(f"wall time: {status.seconds:,.1f} s over all its sessions")
    print(f"seed: {status.run.seed}")


def _show_trial(settings: Settings, options: ShowOptions, store: Store, run: Run, trial: Trial) -> None:
    tested = [test for test in store.retrainings() if (test.run, test.trial) == (run.name, trial.number)]
    decisions = decisions_of(run, trial)
    search = _search_again(settings, run, trial.number)
    if options.format == "json":
        facts = {name: getattr(trial, name) for name in Trial.__dataclass_fields__ if name not in ("proposal", "text")}
        facts |= {"fidelity": trial.proposal.fidelity, "info": trial.proposal.info}
        facts = {"run": run.name, "arch": trial.text, "decisions": decisions, **facts}
        facts |= {"fault": fault(trial, run.config), "protocol": protocol_key(run, trial)}
        print_json({**facts, "retrained": [retrained_row(one) for one in tested], "commands": {"search": search}})
        return
    reused = "" if trial.reused_from is None else f", result of trial {trial.reused_from}, which computes the same"
    print(f"run {run.name!r}, trial {trial.number}: {trial.status}{reused}")
    print(f"arch: {trial.text}")
    _print_yaml("decisions", decisions)
    wrong = fault(trial, run.config)
    if wrong is not None:
        print(f"invalid: {wrong}")
    if trial.error is not None:
        print(f"error: {trial.error_kind}: {trial.error}")
    if trial.traceback is not None:
        print(trial.traceback)
    facts = {"seed": trial.seed, "fidelity": trial.proposal.fidelity, "seconds": round(trial.seconds, 3)}
    _print_yaml("metrics", trial.metrics)
    _print_yaml("cost", trial.cost)
    _print_yaml("facts", {key: value for key, value in facts.items() if value is not None})
    _print_yaml("info", {key: value for key, value in trial.proposal.info.items() if key != "probs"})
    _print_curve(trial.curve)
    _print_retrainings(tested)
    commands = [search] if search else []
    if trial.completed:
        number, code = f"trial={trial.number}", code_arguments(recorded_parts(run.config))
        commands += [
            _own_command(settings, "describe", run.name, number, *code),
            _own_command(settings, "retrain", run.name, number, *code, *_trainer(run)),
            _own_command(settings, "export", run.name, number, *code),
        ]
    _print_commands(commands)


def _search_again(settings: Settings, run: Run, trial: int) -> str | None:
    """The command that repeats a run up to a trial; None for a run from Python, or one with parts that are missing."""
    folder = settings.config_dir
    recorded = run.config.get("config_dir")
    if folder is None and recorded and Path(recorded).is_dir():
        folder = Path(recorded)
    try:
        return search_command(run, max(trial, 0), folder, _store_arguments(settings))
    except UsageError:
        return None


def _store_arguments(settings: Settings) -> list[str]:
    return [argument for argument in shown_arguments(settings.arguments) if argument.startswith(("store=", "store."))]


def _trainer(run: Run) -> list[str]:
    """The recipe for a retraining where that of the paper would take days; otherwise the default."""
    trainer = (run.config.get("choices") or {}).get("trainer")
    return [f"trainer={trainer}"] if trainer and run.config.get("device") == "cpu" else []


def _own_command(settings: Settings, command: str, run: str, *more: str) -> str:
    words = ["nas", *config_dir_arguments(settings.config_dir), command, f"run={run}", *more]
    return shlex.join([*words, *_store_arguments(settings)])


def _print_commands(commands: Sequence[str]) -> None:
    print("commands:")
    for command in commands:
        print(f"  {command}")


def _print_yaml(title: str, values: Mapping[str, Any]) -> None:
    """Print a title and values as YAML below it; nothing if there are none."""
    from yaml import safe_dump  # type: ignore[import-untyped]

    if values:
        print(f"{title}:")
        text = safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=110)
        print("\n".join(f"  {line}" for line in text.splitlines()))


def _print_curve(curve: Sequence[Mapping[str, float]]) -> None:
    """Print the metrics after each epoch; of a long curve some epochs only."""
    if not curve:
        return
    last = len(curve) - 1
    steps = min(last, MAX_EPOCHS - 1)
    shown = sorted({round(step * last / steps) if steps else 0 for step in range(steps + 1)})
    names = list(dict.fromkeys(name for point in curve for name in point))
    rows = [
        [str(index + 1), *(f"{curve[index][name]:.4g}" if name in curve[index] else "" for name in names)]
        for index in shown
    ]
    some = "" if len(shown) == len(curve) else f", {len(shown)} of them"
    print_table(f"curve: {plural(len(curve), 'epoch')}{some}", ["epoch", *names], rows, keys=("epoch",))


def _print_retrainings(tested: Sequence[Retraining]) -> None:
    if not tested:
        return
    names = list(dict.fromkeys(name for test in tested for name in test.metrics))
    rows = [[str(test.seed), *(f"{test.metrics.get(name, float('nan')):.6g}" for name in names), test.folder]
            for test in tested]  # fmt: skip
    print_table("retrained", ["seed", *names, "folder"], rows, text=("folder",), keys=("seed",))
