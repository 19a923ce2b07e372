"""The promises of a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from nas.core import Proposal, Trial
from nas.errors import UsageError, UserError
from nas.store.base import Retraining, Run, Store
from nas.testing.promises import Promise


def store_promises(make: Callable[[], Store]) -> list[Promise]:
    """A store returns exactly what it was given, keeps runs apart, and lets one writer at a time write a run.

    Args:
        make: Returns a store that is empty at first; each call the same one, as another process would open it.
    """
    own = type(make())

    return [
        Promise("a trial comes back exactly as it was stored", partial(_returns_trials, make), own, needed=True),
        Promise("a run comes back exactly as it was stored", partial(_returns_runs, make), own),
        Promise("a run resumes with its trials as they finished, and its seconds", partial(_resumes, make), own),
        Promise("a run with other settings is refused", partial(_refuses_other_settings, make), own),
        Promise("a run without trials does not reserve its name", partial(_frees_names_without_trials, make), own),
        Promise("a run has one writer at a time", partial(_has_one_writer, make), own),
        Promise("the status of a run is that of its trials", partial(_tells_the_status, make), own),
        Promise("retrainings come back in order", partial(_keeps_retrainings, make), own),
    ]


def _returns_trials(make: Callable[[], Store]) -> None:
    kept = _filled(make(), "returned")
    for trial, stored in zip(kept, make().trials("returned"), strict=True):
        assert _same(trial, stored), f"trial {trial.number} came back as {stored}, expected {trial}"
        single = make().trial("returned", trial.number)
        assert single is not None, f"trial(run, {trial.number}) is None"
        assert _same(single, stored), f"trial {trial.number} alone came back as {single}"
    assert make().trial("returned", 99) is None, "trial(run, number) must be None for a number without a trial"
    assert make().trials("unknown") == [], "trials(run) of an unknown run must be empty"


def _returns_runs(make: Callable[[], Store]) -> None:
    run = Run("settings", -(2**62), {"rate": math.inf, "text": "NaN", "odd": "\0\ud800", "big": 2**80}, {"a": 0.1})
    with make().open(run) as record:
        record.add(_trial(0, 0.5))
    stored = next(one for one in make().runs() if one.name == "settings")
    assert stored == run, f"a run came back as {stored}, expected {run}"


def _resumes(make: Callable[[], Store]) -> None:
    first, second, third = (_trial(number, number / 10) for number in range(3))
    with make().open(Run("resumed", 0, {"x": 1})) as record:
        assert list(record.trials) == [], "a new run has no trials"
        assert record.elapsed is None, "a new run has no earlier sessions"
        record.add(second, elapsed=1.0)
        record.add(first, elapsed=2.5)
    with make().open(Run("resumed", 0, {"x": 1})) as record:
        assert list(record.trials) == [second, first], "the trials of a resumed run come in the order they finished"
        assert record.elapsed == 2.5, f"elapsed is {record.elapsed}, expected the last one, 2.5"
        record.add(third)
    numbers = [trial.number for trial in make().trials("resumed")]
    assert numbers == [0, 1, 2], f"trials(run) has the numbers {numbers}, expected them in order"


def _refuses_other_settings(make: Callable[[], Store]) -> None:
    with make().open(Run("fixed", 0, {"x": 1})) as record:
        record.add(_trial(0, 0.5))
    _refused(make(), Run("fixed", 0, {"x": 2}), "other settings")


def _frees_names_without_trials(make: Callable[[], Store]) -> None:
    with make().open(Run("unused", 0, {"x": 1})):
        pass
    with make().open(Run("unused", 1, {"x": 2})) as record:
        assert record.run.config == {"x": 2}, "a run without trials must not reserve its name"


def _has_one_writer(make: Callable[[], Store]) -> None:
    with make().open(Run("owned", 0)) as record:
        record.add(_trial(0, 0.5))
        _refused(make(), Run("owned", 0), "a second writer")
        with make().open(Run("beside", 0)) as beside:
            beside.add(_trial(0, 0.5))
    with suppress(ZeroDivisionError), make().open(Run("owned", 0)):
        raise ZeroDivisionError
    with make().open(Run("owned", 0)) as record:
        assert len(record.trials) == 1, "a run must be free once its writer has ended, also by an exception"


def _tells_the_status(make: Callable[[], Store]) -> None:
    with make().open(Run("stands", 0), planned=5) as record:
        short = replace(_trial(4, 0.6), proposal=Proposal((4,), 2))
        for trial in (_trial(0, 0.2), _trial(1, 0.7), _trial(2, None), _trial(3, 0.7), short):
            record.add(trial, elapsed=4.0)
        assert make().status("stands").state == "running", "a run that is open must be running"
        record.end_session(6.0, "budget")
    status = make().status("stands")
    found = (status.state, status.trials, status.failed, status.planned, status.best, status.score, status.seconds)
    expected = ("finished", 5, 1, 5, 1, 0.7, 6.0)
    assert found == expected, f"the status is {found}, expected {expected}"
    assert status in make().statuses(), "statuses() must have the status of every run"
    with make().open(Run("stands", 0)):
        pass
    assert make().status("stands").state == "interrupted", "a session that did not say why it ended is interrupted"
    raised = False
    try:
        make().status("unknown")
    except UsageError:
        raised = True
    assert raised, "status(run) of an unknown run must raise UsageError"


def _keeps_retrainings(make: Callable[[], Store]) -> None:
    one = Retraining("r", 3, "toy", "d=a", "d=a", 7, {"data": "x"}, {"test_loss": math.inf}, 0.1 + 0.2, "runs/r")
    make().add_retraining(one)
    make().add_retraining(replace(one, run=None, trial=None))
    found = make().retrainings()[-2:]
    assert found == [one, replace(one, run=None, trial=None)], f"retrainings came back as {found}"


def _trial(number: int, score: float | None, **more: Any) -> Trial:
    """A trial; it failed without a score."""
    if score is None:
        return Trial(number, Proposal((number, 1)), "a", "a", 0, "failed", {}, 0.0, error_kind="error", error="no")
    return Trial(number, Proposal((number, 1)), "a", "a", 0, "completed", {"valid_accuracy": score}, 0.5, **more)


def _filled(store: Store, run: str) -> list[Trial]:
    """Store one trial of each kind; returns them by number."""
    losses = ({"train_loss": 1e308 * 10, "valid_accuracy": 0.1}, {"train_loss": math.nan, "valid_accuracy": 1 / 3})
    more: Mapping[str, Any] = {"told_before": 2, "reused_from": 0, "cost": {"latency": 5e-324, "memory": 1e22}}
    info = {
        "rung": 2,
        "parents": [1, 2],
        "text": "NaN",
        "not": math.nan,
        "odd": "\0 \ud800 ~Infinity",
        "deep": {"x": [None]},
    }
    trials = [
        _trial(0, 0.1 + 0.2, curve=losses),
        _trial(1, -math.inf),
        replace(
            _trial(2, 0.5, **more), proposal=Proposal((3,), 9, info), seed=2**63 - 1, text="ä\n'\"", canonical="x\\"
        ),
        replace(_trial(3, 0.5), metrics={"valid_accuracy": 0.5, "flops": 2**70, "z": 1, "a": math.nan, "b": -0.0}),
        replace(_trial(4, None), error="two\nlines", traceback="Traceback …\n  line\n", curve=losses[:1]),
    ]
    with store.open(Run(run, 0)) as record:
        for trial in trials:
            record.add(trial)
    return trials


def _same(one: Trial, other: Trial) -> bool:
    """Whether two trials are equal bit for bit; NaN equals NaN."""
    return repr(one) == repr(other)


def _refused(store: Store, run: Run, what: str) -> None:
    try:
        with store.open(run):
            pass
    except UserError:
        return
    raise AssertionError(f"{what} of run {run.name!r} must be refused with UsageError")
