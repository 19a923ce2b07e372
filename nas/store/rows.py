"""Runs and trials as rows of the tables, and back."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import sqlalchemy as sa

from nas.core import Proposal, Trial
from nas.store import schema
from nas.store.base import Run, now

NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Numbers that JSON does not have -> the text that stands for each in a document."""
CHUNK = 10_000
"""Rows that are read at a time."""
RUN_COLUMNS = ("name", "seed", "config", "protocol", "environment")


def to_json(value: Any) -> str:
    """A document as text that every database accepts, and from which `from_json` makes the same document."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_escaped(value))
    return json.dumps(_escaped(value)) if _may_be_escaped(text) else text


def from_json(text: str | bytes) -> Any:
    """A document from its text; those of earlier versions may have `NaN` itself."""
    text = text.decode() if isinstance(text, bytes) else text
    value = json.loads(text)
    return _unescaped(value) if _may_be_escaped(text) else value


def _may_be_escaped(text: str) -> bool:
    return 'NaN"' in text or 'Infinity"' in text


def _escaped(value: Any) -> Any:
    """The document with a text for each number that JSON lacks, and `~` before texts that look like one."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, str) and value.lstrip("~") in NOT_JSON:
        return f"~{value}"
    return _mapped(_escaped, value)


def _unescaped(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip("~") in NOT_JSON:
        return value[1:] if value.startswith("~") else NOT_JSON[value]
    return _mapped(_unescaped, value)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: function(inner) for key, inner in value.items()}
    return [function(inner) for inner in value] if isinstance(value, list | tuple) else value


def run_row(run: Run) -> dict[str, Any]:
    """The columns of a run that it states itself."""
    return {key: getattr(run, key) for key in RUN_COLUMNS}


def run_of(row: sa.Row[Any]) -> Run:
    """The run of a row.

    Raises:
        ValueError: The row is damaged: SQLite returns null for a page that is missing.
    """
    run = Run(*(getattr(row, key) for key in RUN_COLUMNS))
    if not all(isinstance(value, Mapping) for value in (run.config, run.protocol, run.environment)):
        raise ValueError(f"the settings of run {run.name!r} are missing")
    return run


def read_run(connection: sa.Connection, name: str) -> Run | None:
    """A run by its name; None if the store has no such run."""
    row = connection.execute(sa.select(schema.runs).where(schema.runs.c.name == name)).first()
    return None if row is None else run_of(row)


def trial_row(run: Run, trial: Trial, finish_order: int) -> dict[str, Any]:
    """The columns of a trial.

    Args:
        run: Its run.
        trial: A trial; its messages are `storable`.
        finish_order: Its position in the order of finishing, from 0.
    """
    score = run.objective.score(trial) if trial.completed else None
    return {
        "run": run.name,
        "number": trial.number,
        "architecture": trial.proposal.architecture,
        "text": trial.text,
        "canonical": trial.canonical,
        "fidelity": trial.proposal.fidelity,
        "info": trial.proposal.info,
        "seed": trial.seed,
        "status": trial.status,
        "metrics": trial.metrics,
        "seconds": trial.seconds,
        "cost": trial.cost,
        "reused_from": trial.reused_from,
        "error_kind": trial.error_kind,
        "error": trial.error,
        "finished": now(),
        "told_before": trial.told_before,
        "finish_order": finish_order,
        "score": None if score is None or math.isnan(score) else score,
        "traceback": trial.traceback,
    }


def curve_rows(run: Run, trial: Trial) -> list[dict[str, Any]]:
    """The rows of a trial's curve."""
    return [
        {"run": run.name, "trial": trial.number, "epoch": epoch, "metrics": metrics}
        for epoch, metrics in enumerate(trial.curve, start=1)
    ]


def read_trials(
    connection: sa.Connection, run: str, numbers: Sequence[int] | None = None, *, as_finished: bool = False
) -> list[Trial]:
    """The trials of a run.

    Args:
        connection: Connection to a store of any version.
        run: Name of the run.
        numbers: Numbers of the only ones to read, at most 500; None: all.
        as_finished: In the order in which they finished, rather than by number.
    """
    table, curves = schema.trials, schema.curves
    points: dict[int, list[Mapping[str, float]]] = {}
    wanted = (curves.c.run == run) if numbers is None else (curves.c.run == run) & curves.c.trial.in_(numbers)
    decoded = _Decoder()
    query = sa.select(curves.c.trial, sa.cast(curves.c.metrics, sa.Text)).where(wanted)
    for trial, metrics in connection.execute(query.order_by(curves.c.trial, curves.c.epoch)):
        points.setdefault(trial, []).append(decoded[metrics])
    # only a writer upgrades a store, so a reader may meet an earlier version
    present = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    columns = [_raw(column) for column in _columns(present)]
    wanted = (table.c.run == run) if numbers is None else (table.c.run == run) & table.c.number.in_(numbers)
    select = sa.select(*columns).select_from(table).where(wanted).order_by(table.c.number)
    trials = []
    places: list[int] = []
    strings: dict[str, str] = {}
    proposals: dict[tuple[str, int | None, str], Proposal] = {}
    result = connection.execute(select.execution_options(yield_per=CHUNK))
    with _no_collection():
        for (
            key, architecture, text, canonical, fidelity, info, seed, status, metrics, seconds, cost, reused_from,
            error_kind, error, told_before, traceback, place,
        ) in chain.from_iterable(result.partitions(CHUNK)):  # fmt: skip
            places.append(key if place is None else place)
            proposal = proposals.get((architecture, fidelity, info))
            if proposal is None:
                proposal = Proposal(tuple(json.loads(architecture)), fidelity, decoded[info])
                proposals[architecture, fidelity, info] = proposal
            trials.append(
                Trial(
                    key,
                    proposal,
                    strings.setdefault(text, text),
                    strings.setdefault(canonical, canonical),
                    seed,
                    strings.setdefault(status, status),  # type: ignore[arg-type]
                    decoded[metrics],
                    seconds,
                    decoded[cost],
                    reused_from,
                    error_kind,
                    error,
                    tuple(points[key]) if key in points else (),
                    key if told_before is None else told_before,
                    traceback,
                )
            )
    if as_finished:  # sorted here, since databases sort a million wide rows on the disk
        trials = [trials[index] for index in sorted(range(len(trials)), key=places.__getitem__)]
    return trials


def _columns(present: set[str]) -> list[sa.ColumnElement[Any]]:
    """The columns in the order of the fields of a trial; null for those that an earlier version lacks."""
    names = ("number", "architecture", "text", "canonical", "fidelity", "info", "seed", "status", "metrics", "seconds",
             "cost", "reused_from", "error_kind", "error", "told_before", "traceback", "finish_order")  # fmt: skip
    earlier = schema.NAMES_OF_VERSION_2
    return [
        schema.trials.c[name]
        if name in present
        else sa.literal_column(earlier[name])
        if earlier.get(name) in present
        else sa.null()
        for name in names
    ]


def _raw(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """JSON as its text, so that equal texts are read once."""
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column


class _Decoder(dict[str, Any]):
    """Documents by their text: equal ones, such as the results of equal architectures, share one object."""

    def __missing__(self, text: str) -> Any:
        value = from_json(text)
        if len(self) < CHUNK * 10:
            self[text] = value
        return value


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles: a million new trials hold none, and each search would visit them all."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
