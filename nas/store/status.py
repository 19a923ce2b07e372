"""Where runs stand, from an index of their trials rather than from the trials."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import sqlalchemy as sa

from nas.store import schema
from nas.store.base import Run, RunStatus
from nas.store.rows import read_trials, run_of
from nas.store.tally import Tally, joined, state_of, tally_of


def read_statuses(
    connection: sa.Connection, running: Callable[[Iterable[str]], Collection[str]], run: str | None = None
) -> list[RunStatus]:
    """Where runs stand, the oldest first.

    Args:
        connection: Connection to a store of any version.
        running: Returns those of some runs that a process is writing.
        run: Name of the only one; None: all.
    """
    runs = schema.runs
    select = sa.select(runs).order_by(runs.c.created, runs.c.name)
    known = [run_of(row) for row in connection.execute(select if run is None else select.where(runs.c.name == run))]
    if not sa.inspect(connection).has_table(schema.sessions.name):  # an earlier version
        tallies = {one.name: tally_of(one, read_trials(connection, one.name)) for one in known}
        sessions: dict[str, Any] = {}
    else:
        tallies = _tallies(connection) if run is None else {run: _tally(connection, run)}
        of_run = sa.true() if run is None else schema.sessions.c.run == run
        sessions = {row.run: row for row in connection.execute(sa.select(schema.sessions).where(of_run))}
    alive = running([name for name, row in sessions.items() if row.ended is None])
    return [_status(one, tallies.get(one.name, Tally()), sessions.get(one.name), one.name in alive) for one in known]


def _status(run: Run, tally: Tally, session: Any, running: bool) -> RunStatus:
    if session is None:
        return RunStatus(run, state_of(None, running), *tally[:2], best=tally.best, score=tally.score)
    state = state_of(session.ended, running)
    return RunStatus(
        run, state, tally.trials, tally.failed, session.planned, tally.best, tally.score, session.seconds,
        session.started, session.updated, session.owner,
    )  # fmt: skip


def _tally(connection: sa.Connection, run: str) -> Tally:
    """The counts of one run: its trials are counted in an index, all else is looked up."""
    table = schema.trials.c
    of_run = table.run == run
    total = Tally(connection.execute(sa.select(sa.func.count()).where(of_run)).scalar_one())
    next_fidelity = sa.select(sa.func.min(table.fidelity)).where(of_run)
    fidelity, condition = None, table.fidelity.is_(None)
    while True:
        these = of_run & condition
        failed = connection.execute(sa.select(sa.func.count()).where(these, table.score.is_(None))).scalar_one()
        scored = sa.select(table.number, table.score).where(these, table.score.is_not(None))
        first = connection.execute(scored.order_by(table.score.desc(), table.number).limit(1)).first()
        total = joined(total, Tally(0, failed, *(first or ())))
        above = next_fidelity if fidelity is None else next_fidelity.where(table.fidelity > fidelity)
        fidelity = connection.execute(above).scalar_one()
        if fidelity is None:
            return total
        condition = table.fidelity == fidelity


def _tallies(connection: sa.Connection) -> dict[str, Tally]:
    """The counts of all runs: one pass over the index `trials_by_score`, and one look-up for each best trial."""
    table, equal = schema.trials, schema.trials.alias()
    counts = (
        sa.select(
            table.c.run,
            table.c.fidelity,
            sa.func.count().label("trials"),
            sa.func.count(table.c.score).label("completed"),
            sa.func.max(table.c.score).label("score"),
        )
        .group_by(table.c.run, table.c.fidelity)
        .subquery()
    )
    first = sa.select(sa.func.min(equal.c.number)).where(equal.c.run == counts.c.run, equal.c.score == counts.c.score)
    # two look-ups, since PostgreSQL has no index for a comparison that includes null
    best = sa.func.coalesce(
        first.where(equal.c.fidelity == counts.c.fidelity).scalar_subquery(),
        first.where(equal.c.fidelity.is_(None), counts.c.fidelity.is_(None)).scalar_subquery(),
    )
    tallies: dict[str, Tally] = {}
    for name, trials, completed, score, number in connection.execute(
        sa.select(counts.c.run, counts.c.trials, counts.c.completed, counts.c.score, best)
    ):
        one = Tally(trials, trials - completed, number, score)
        tallies[name] = joined(tallies[name], one) if name in tallies else one
    return tallies
