"""`nas COMMAND -m`: one command for every combination of values, each a job of its own.

The folder of a sweep, `SWEEP_DIR/SWEEP`, has a file that says what the sweep is, and a folder for each job. A job that
ended well is not run again; a search counts only if the store still has its run.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nas.cli.arguments import COMMANDS_THAT_READ
from nas.cli.options import CommandOptions
from nas.cli.output import Bar, run_folder
from nas.cli.rerun import config_dir_arguments, without_secrets
from nas.cli.sweep_checks import changed, check_jobs, check_store, several, values_of
from nas.cli.sweep_report import Outcome, print_jobs, print_summary
from nas.config.composition import group_options
from nas.config.overrides import keys
from nas.config.settings import Settings, compose
from nas.config.sweeps import Sweep, SweepJob, parse_sweep
from nas.errors import UsageError, UserError
from nas.files import atomic_write
from nas.formatting import plural
from nas.launchers.base import Job, JobResult, Launcher, save, saved
from nas.runtime import interrupt
from nas.store.base import NoStore, Store, is_free
from nas.store.sweeps import check_sweep_name
from nas.store.urls import DEFAULT_URL, is_same_store, without_password
from nas.validation import true_or_false, whole_number

DEFINITION = "sweep.json"
MAX_RUN_NAME = 100
"""Longest name of a run in characters; a longer one gets a digest instead of what differs."""
STORE_KEYS = ("store", "store.url")
"""Settings that say where the results are."""
TAGGED_COMMAND = "search"
"""The command whose jobs are runs of the store, named after the sweep."""


@dataclass(frozen=True)
class SweepOptions(CommandOptions):
    """Settings of a sweep; `configs/sweep.yaml` describes them."""

    sweep: str | None
    sweep_dir: str
    dry_run: bool
    max_jobs: int

    def __post_init__(self) -> None:
        if self.sweep is not None:
            check_sweep_name(self.sweep)
        true_or_false("dry_run", self.dry_run)
        whole_number("max_jobs", self.max_jobs)


@dataclass(frozen=True)
class Request:
    """The command of a sweep's jobs as the user gave it.

    Args:
        command: Name of the command.
        arguments: `key=value` of the command line.
        options: Settings of the command that are not parts.
        config_dir: Folder with the user's own options.
        deferred: Groups that a job's command inherits from a run or a file.
    """

    command: str
    arguments: Sequence[str]
    options: type[CommandOptions]
    config_dir: Path | None
    deferred: Sequence[str]

    def settings(self, arguments: Sequence[str]) -> Settings:
        """The settings of a job, checked."""
        return compose(self.command, arguments, self.config_dir, deferred=self.deferred)

    def words(self, arguments: Sequence[str]) -> list[str]:
        """The arguments of a job after `nas`."""
        return [*config_dir_arguments(self.config_dir and self.config_dir.absolute()), self.command, *arguments]

    @property
    def rerun(self) -> str:
        """The command of the sweep, ready to be pasted into a shell."""
        arguments, _ = without_secrets(self.arguments)
        return shlex.join(["nas", *config_dir_arguments(self.config_dir), self.command, "-m", *arguments])


@dataclass(frozen=True)
class PlannedJob:
    """A job of a sweep with the settings of its command.

    Args:
        job: Its command; its name is what differs from the other jobs.
        settings: Settings of the command, checked.
        run: Name of its run in the store; None if it is not a search.
    """

    job: Job
    settings: Settings
    run: str | None

    @cached_property
    def store(self) -> Store:
        store: Store = self.settings.make("store")
        return store


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that may start.

    Args:
        request: Command of its jobs.
        name: Name of the sweep.
        folder: Folder of its files.
        sweep: What varies, and what is fixed.
        jobs: Its jobs.
    """

    request: Request
    name: str
    folder: Path
    sweep: Sweep
    jobs: Sequence[PlannedJob]

    @property
    def store(self) -> dict[str, str]:
        """Key -> value of the settings that say which store the jobs share; empty if the command has none."""
        settings = self.jobs[0].settings
        choice = settings.choices.get("store")
        if choice is None:
            return {}
        url = settings.node("store").get("url")
        return {"store": choice} | ({"store.url": without_password(url)} if isinstance(url, str) else {})

    @property
    def shows_progress(self) -> bool:
        return self.jobs[0].settings.get("progress") is not False

    @property
    def format(self) -> str:
        """`json` if the jobs print JSON, else `table`."""
        return "json" if self.jobs[0].settings.get("format") == "json" else "table"


def run_sweep(request: Request) -> int:
    """Run a command once for each combination of values.

    Args:
        request: The command, with the values of a sweep.

    Returns:
        0 if every job is done, else 1.

    Raises:
        UsageError: A key does not exist, there are too many jobs, or a sweep of this name differs.
    """
    if request.command in COMMANDS_THAT_READ:
        raise UsageError(f"-m has no use with nas {request.command}, which computes nothing by itself; leave it out")
    settings, sweep = parsed(request)
    options = SweepOptions.of(settings)
    launcher: Launcher = settings.make("launcher")
    plan = planned(request, sweep, options)
    check_jobs((one.settings for one in plan.jobs), request.options)
    if not plan.sweep.axes:
        print("nas: warning: no key has several values, such as seed=0,1 or seed=range(0,5)", file=sys.stderr)
    if options.dry_run:
        print_jobs(plan.name, [one.job for one in plan.jobs], plan.format)
        return 0
    launcher.check()
    try:
        with _opened(plan):
            outcomes = _run(plan, launcher)
    except KeyboardInterrupt as error:
        print(f"\ninterrupted; finished jobs and trials are stored. Resume with:\n  {request.rerun}", file=sys.stderr)
        return interrupt.exit_code(error)
    print_summary(
        plan.name,
        plan.folder,
        outcomes,
        rerun=request.rerun,
        settings=plan.jobs[0].settings,
        output=plan.format,
    )
    return 0 if all(outcome.done for outcome in outcomes) else 1


def parsed(request: Request) -> tuple[Settings, Sweep]:
    """The settings of the sweep itself, and what its jobs vary."""
    own_keys = {key.partition(".")[0] for key in keys(compose("sweep", []).config)}
    own = [one for one in request.arguments if one.partition("=")[0].lstrip("+").partition(".")[0] in own_keys]
    rest = [argument for argument in request.arguments if argument not in own]
    return compose("sweep", own, request.config_dir), parse_sweep(rest, group_options(request.config_dir))


def planned(request: Request, sweep: Sweep, options: SweepOptions) -> SweepPlan:
    """Check a sweep and the settings of all its jobs; nothing is written."""
    # unknown keys are refused before the product is made, which may have thousands of jobs
    request.settings(sweep.example)
    if len(sweep) > options.max_jobs:
        sizes = " x ".join(f"{len(values):,} of {key}" for key, values in sweep.axes.items())
        raise UsageError(
            f"this sweep has {len(sweep):,} jobs ({sizes}), more than max_jobs={options.max_jobs}; set "
            f"max_jobs={len(sweep)} to run them all, and dry_run=true to list them first"
        )
    fixed = {argument.partition("=")[0] for argument in sweep.fixed}
    if request.command == TAGGED_COMMAND and "run" in fixed:
        raise UsageError("run= names a single search; name the runs of a sweep by sweep=NAME")
    if "out" in fixed and len(sweep) > 1:
        raise UsageError("out= is the output of a single job; leave it out, or name the folder of all by sweep_dir=")
    if stores := [key for key in sweep.axes if key in STORE_KEYS]:
        raise UsageError(f"{stores[0]} has several values; expected one, since the jobs of a sweep share a store")
    name = options.sweep or automatic_name(request.command, sweep)
    folder = run_folder(options.sweep_dir, name).absolute()
    jobs = [_planned_job(request, name, folder, one) for one in sweep.jobs()]
    runs = [job.run for job in jobs if job.run is not None]
    if twice := next((run for run in runs if runs.count(run) > 1), None):
        raise UsageError(f"run={twice} would be the run of {runs.count(twice)} jobs; leave run= out, or vary only run=")
    return SweepPlan(request, name, folder, sweep, jobs)


def automatic_name(command: str, sweep: Sweep) -> str:
    """A name from the command, the keys that vary and the fixed settings: further values extend the sweep."""
    varied = sorted(key.lstrip("+") for key in sweep.axes)
    shown, _ = without_secrets(argument for argument in sweep.fixed if argument != f"store.url={DEFAULT_URL}")
    fixed = sorted(
        argument for argument in shown if (key := argument.partition("=")[0]) in STORE_KEYS or not is_free(key)
    )
    digest = hashlib.blake2b(json.dumps([command, varied, fixed]).encode(), digest_size=3).hexdigest()
    name = "-".join([command, *varied])
    return f"{name if len(name) <= 40 else command}-{digest}"


def _planned_job(request: Request, name: str, folder: Path, one: SweepJob) -> PlannedJob:
    job_folder = run_folder(str(folder), one.label)
    given = dict(argument.partition("=")[::2] for argument in one.arguments)
    own, run = list[str](), None
    if request.command == TAGGED_COMMAND:
        run = given.get("run")
        if run is None:
            run = run_name(name, one.label)
            own.append(f"run={run}")
        own.append(f"sweep={name}")
    settings = request.settings([*one.arguments, *own])
    if "out" in settings.config and "out" not in given:
        # a command whose output is a file names it in its YAML
        own.append(f"out={job_folder / (settings.get('out') or 'output')}")
    arguments, environment = without_secrets([*one.arguments, *own])
    job = Job(one.label, request.words(arguments), job_folder, Path.cwd(), environment)
    return PlannedJob(job, settings, run)


def run_name(sweep: str, label: str) -> str:
    """Name of the run of a job."""
    name = f"{sweep}-{label}"
    if len(name) <= MAX_RUN_NAME and name.isprintable():
        return name
    digest = hashlib.blake2b(label.encode(), digest_size=6).hexdigest()
    return f"{sweep[: MAX_RUN_NAME - 13]}-{digest}"


@contextmanager
def _opened(plan: SweepPlan) -> Iterator[None]:
    """Hold a sweep, so that no other process runs it, and check that it is the one its folder names."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(plan.folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"sweep {plan.name!r} is being run by another process; wait until it ends or choose another sweep="
        ) from None
    except OSError as error:
        raise UserError(f"{plan.folder} cannot be written ({error.strerror}); set sweep_dir=") from None
    try:
        _check_definition(plan)
        yield
    finally:
        lock.release()


def _check_definition(plan: SweepPlan) -> None:
    """Write what a sweep is, or check that it is the same one; further values of its keys extend it."""
    fixed = dict(argument.partition("=")[::2] for argument in plan.sweep.fixed)
    present = {
        "command": plan.request.command,
        "varied": sorted(plan.sweep.axes),
        "fixed": {key: value for key, value in sorted(fixed.items()) if not is_free(key)},
        "store": plan.store,
    }
    path = plan.folder / DEFINITION
    try:
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else present
        differing = [*_differences(plan, stored, present), *_other_store(stored, plan.store)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; remove it if sweep {plan.name!r} has not changed") from None
    if differing:
        raise UsageError(
            f"sweep {plan.name!r} was started with {'; with '.join(differing)}. Choose another sweep= or restore the "
            "old settings; nothing was changed."
        )
    # before anything is written: a store that cannot be opened is no part of what the sweep is
    check_store(plan.jobs[0].settings, written=plan.request.command == TAGGED_COMMAND)
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(present, indent=2), encoding="utf-8")


def _differences(plan: SweepPlan, stored: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    """What a sweep was started with and no longer has; the settings of another command are of no interest."""
    if stored["command"] != present["command"]:
        yield f"nas {stored['command']} (now nas {present['command']})"
    elif stored["varied"] != present["varied"]:
        old, new = (several(one["varied"]) for one in (stored, present))
        yield f"{old} (now {new})"
    else:
        request, old, new = plan.request, stored["fixed"], present["fixed"]
        respelled = sorted(key for key in {**old, **new} if old.get(key) != new.get(key))
        varied = {key: values[0] for key, values in plan.sweep.axes.items()}
        before, after = (
            values_of(request.settings, {**fixed, **varied}, respelled, request.deferred) for fixed in (old, new)
        )
        yield from (changed(key, before[key], after[key]) for key in respelled if before[key] != after[key])


def _other_store(stored: Mapping[str, Any], present: Mapping[str, str]) -> Iterator[str]:
    """The settings of a sweep that name another store than it was started with."""
    for key, value in present.items():
        earlier = stored.get("store", present).get(key, value)
        if not is_same_store(earlier, value):
            yield f"{key}={earlier} (now {value})"


def _run(plan: SweepPlan, launcher: Launcher) -> list[Outcome]:
    """Run the jobs that are not done yet."""
    results: dict[str, JobResult] = {}
    earlier = {one.job.name for one in plan.jobs if _is_done(one)}
    for one in plan.jobs:
        if one.job.name in earlier and (result := saved(one.job)) is not None:
            results[one.job.name] = result
    remaining = {one.job.name: one for one in plan.jobs if one.job.name not in earlier}
    bar = Bar(plan.shows_progress, "job")
    bar.say(f"sweep {plan.name}: {plural(len(plan.jobs), 'job')}, {len(remaining)} to run; files in {plan.folder}")
    bar.report(len(earlier), len(plan.jobs))
    ended = launcher.run([one.job for one in remaining.values()])
    try:
        for result in ended:
            save(remaining[result.name].job, result)
            results[result.name] = result
            if not result.done:
                bar.say(f"{result.name}: {result.reason or f'exit code {result.code}'}")
            bar.report(len(results), len(plan.jobs))
    finally:
        if isinstance(ended, Generator):
            ended.close()  # ends the jobs that run
        bar.close()
    return [_outcome(one, results.get(one.job.name), earlier=one.job.name in earlier) for one in plan.jobs]


def _is_done(one: PlannedJob) -> bool:
    """Whether a job has ended well with the same arguments, and its run is still stored."""
    result = saved(one.job)
    if result is None or not result.done:
        return False
    try:
        return one.run is None or one.store.status(one.run).trials > 0
    except (NoStore, UsageError):
        return False


def _outcome(one: PlannedJob, result: JobResult | None, *, earlier: bool) -> Outcome:
    status = None
    if one.run is not None:
        try:
            status = one.store.status(one.run)
        except UserError:  # it ended before its first trial
            status = None
    return Outcome(one.job, result, one.run, status, earlier)
