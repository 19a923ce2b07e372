"""Which way ranks the trials of a database; the way by score and number, which reads an index."""

from __future__ import annotations

import math
from collections.abc import Sequence

import sqlalchemy as sa

from nas.core import Trial
from nas.store.base import Run
from nas.store.entries import Entry, Query, Tested
from nas.store.ranking.by_class import ranked_classes
from nas.store.ranking.by_value import ranked_by_value
from nas.store.ranking.reading import TRIALS, Part, Position, Ranking, same_fidelity


def has_scores(connection: sa.Connection) -> bool:
    """Whether the store has the column of scores: a reader may meet a store of an earlier version."""
    return any(column["name"] == TRIALS.c.score.name for column in sa.inspect(connection).get_columns(TRIALS.name))


def ranked(connection: sa.Connection, runs: Sequence[Run], query: Query, tested: Tested) -> list[list[Entry]]:
    """Ranked entries, one list for each set of comparable trials, the largest set first.

    Args:
        connection: Connection to a store that has scores.
        runs: Runs to rank, in their order.
        query: Which entries are wanted; `top` is at least 1.
        tested: Retrainings.

    Raises:
        UsageError: No trial has a metric that is named.
    """
    ranking = Ranking(connection, runs, query, tested)
    if query.group:
        return ranked_classes(ranking)
    if query.where is None and query.name in ("score", "number"):
        best = _first_by_score if query.name == "score" else _first_by_number
        return [ranking.entries(best(ranking, parts)) for parts in ranking.sets()]
    return ranked_by_value(ranking)


def _first_by_number(ranking: Ranking, parts: Sequence[Part]) -> list[Position]:
    """The first trials of one set by the names of their runs and by number."""
    descending = ranking.query.order == "desc"
    number = TRIALS.c.number.desc() if descending else TRIALS.c.number
    found = [at for part in parts for at, _ in _select(ranking, part, order=[number])]
    found.sort(key=lambda at: (ranking.runs[at[0]].name, -at[1] if descending else at[1]))
    return found[: ranking.query.top]


def _first_by_score(ranking: Ranking, parts: Sequence[Part]) -> list[Position]:
    """The first trials of one set by score: sound ones, wrong ones, those without a score, wrong ones of these."""
    descending, top = ranking.query.order != "asc", ranking.query.top
    score, number, sign = TRIALS.c.score, TRIALS.c.number, -1.0 if descending else 1.0
    # the fidelity is always the same, but PostgreSQL reads the index only if it is part of the order
    by_score = [column.desc() if descending else column for column in (TRIALS.c.fidelity, score)]
    ours = {(part.index, part.fidelity) for part in parts}
    wrong = {at: trial for at, trial in ranking.faulty.items() if (at[0], trial.proposal.fidelity) in ours}
    values = {at: _score(ranking.runs[at[0]], trial) for at, trial in wrong.items()}
    # SQLite stores NaN as null, and PostgreSQL orders it above infinity
    scored = [item for part in parts for item in _select(ranking, part, score <= math.inf, order=[*by_score, number])]
    found = [at for at, _ in sorted(scored, key=lambda item: (sign * item[1], item[0]))][:top]
    with_score = [(sign * value, at) for at, value in values.items() if value is not None]
    found += [at for _, at in sorted(with_score)]
    if len(found) < top:
        without = score.is_(None) | (score > math.inf)
        found += sorted(at for part in parts for at, _ in _select(ranking, part, without, order=[number]))[:top]
        found += sorted(at for at, value in values.items() if value is None)
    return found[:top]


def _score(run: Run, trial: Trial) -> float | None:
    """The objective of a trial; None if it failed or is not a number."""
    score = run.objective.score(trial) if trial.completed else math.nan
    return None if math.isnan(score) else score


def _select(
    ranking: Ranking, part: Part, *conditions: sa.ColumnElement[bool], order: Sequence[sa.ColumnElement[object]]
) -> list[tuple[Position, float]]:
    """The first trials of a part in an order, with their scores; under conditions only those without known faults."""
    number, of_run = TRIALS.c.number, TRIALS.c.run == ranking.runs[part.index].name
    query = sa.select(number, TRIALS.c.score).where(of_run, same_fidelity(part.fidelity), *conditions)
    wrong = [at[1] for at in ranking.faulty if at[0] == part.index] if conditions else []
    if wrong:
        query = query.where(number.not_in(wrong))
    rows = ranking.connection.execute(query.order_by(*order).limit(ranking.query.top))
    return [((part.index, number), score or 0.0) for number, score in rows]
