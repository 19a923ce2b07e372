"""The tables of a store. A change needs a new `VERSION` and a step in `upgrade` for existing stores."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    cast,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.schema import CreateTable

from nas.core import Objective

VERSION = 4
NAMES_OF_VERSION_2 = {"told_before": "asked_after", "finish_order": "place"}
"""Columns of the trials -> their names in version 2. Version 1 had neither."""
SESSIONS_OF_VERSION_3 = "elapsed"
"""Table of versions 1 to 3 with the wall seconds of each run; version 0.1.0 had none."""

WHOLE = Integer().with_variant(BigInteger(), "postgresql")
"""64 bits in each kind of database."""

metadata = MetaData()

meta = Table("cellnas_meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("name", String, primary_key=True),
    Column("seed", WHOLE, nullable=False),
    Column("config", JSON, nullable=False),
    Column("protocol", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("created", String, nullable=False, comment="UTC, ISO 8601"),
)

trials = Table(
    "trials",
    metadata,
    Column("run", String, primary_key=True),
    Column("number", WHOLE, primary_key=True, autoincrement=False),
    Column("architecture", JSON, nullable=False, comment="option index per decision"),
    Column("text", Text, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("fidelity", WHOLE),
    Column("info", JSON, nullable=False),
    Column("seed", WHOLE, nullable=False),
    Column("status", String, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("cost", JSON, nullable=False),
    Column("reused_from", WHOLE),
    Column("error_kind", String),
    Column("error", Text),
    Column("finished", String, nullable=False, comment="UTC, ISO 8601"),
    Column(
        "told_before",
        WHOLE,
        nullable=False,
        server_default="0",
        comment="trials that the strategy knew when it proposed this one",
    ),
    Column(
        "finish_order",
        WHOLE,
        nullable=False,
        server_default="0",
        comment="position in the order of finishing, from 0",
    ),
    Column("score", Float, comment="objective of the run, higher is better; null if the trial failed"),
    Column("traceback", Text),
    ForeignKeyConstraint(["run"], ["runs.name"]),
)

by_score = Index("trials_by_score", trials.c.run, trials.c.fidelity, trials.c.score, trials.c.number)
"""Finds the best trials of a run without reading the others."""

curves = Table(
    "curves",
    metadata,
    Column("run", String, primary_key=True),
    Column("trial", WHOLE, primary_key=True, autoincrement=False),
    Column("epoch", WHOLE, primary_key=True, autoincrement=False, comment="from 1"),
    Column("metrics", JSON, nullable=False),
    ForeignKeyConstraint(["run", "trial"], ["trials.run", "trials.number"]),
)

sessions = Table(
    "sessions",  # the last session of each run
    metadata,
    Column("run", String, primary_key=True),
    Column("seconds", Float, comment="wall time of the run over all its sessions; null before its first trial"),
    Column("owner", String),
    Column("started", String, comment="UTC, ISO 8601"),
    Column("updated", String, comment="UTC, ISO 8601"),
    Column(
        "ended", String, comment="budget, finished, failures or interrupted; null while it runs, or if it was killed"
    ),
    Column("planned", WHOLE, comment="trials that its budget allows; null: not limited by a number"),
    ForeignKeyConstraint(["run"], ["runs.name"]),
)

retrainings = Table(
    "retrainings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", String),
    Column("trial", WHOLE),
    Column("space", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("seed", WHOLE, nullable=False),
    Column("protocol", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("folder", Text, nullable=False),
    Column("finished", String, nullable=False, comment="UTC, ISO 8601"),
)


def upgrade(connection: Connection, version: int) -> None:
    """Upgrade the tables of an older version to this one, within the caller's transaction.

    Args:
        connection: Connection that may write.
        version: Schema version of the store.
    """
    if version < 2:
        for column in NAMES_OF_VERSION_2:
            connection.execute(text(f"ALTER TABLE trials ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0"))
        # version 1 had one worker, so trials finished in the order of their numbers
        connection.execute(trials.update().values(dict.fromkeys(NAMES_OF_VERSION_2, trials.c.number)))
        for row in connection.execute(select(runs.c.name, runs.c.config)).all():
            connection.execute(runs.update().where(runs.c.name == row.name).values(config=_with_newer_keys(row.config)))
    elif version < 3:
        for column, earlier in NAMES_OF_VERSION_2.items():
            connection.execute(text(f"ALTER TABLE trials RENAME COLUMN {earlier} TO {column}"))
    if version < 4:
        _rewrite_invalid_numbers(connection)
        _add_scores(connection)
        connection.execute(CreateTable(sessions, if_not_exists=True))
        if inspect(connection).has_table(SESSIONS_OF_VERSION_3):
            connection.execute(
                text(f"INSERT INTO sessions (run, seconds) SELECT run, seconds FROM {SESSIONS_OF_VERSION_3}")
            )
            connection.execute(text(f"DROP TABLE {SESSIONS_OF_VERSION_3}"))
    connection.execute(meta.update().where(meta.c.key == "schema").values(value=str(VERSION)))


def _rewrite_invalid_numbers(connection: Connection) -> None:
    """Write `NaN` and `Infinity`, which are not JSON and which queries stumble over, as this version writes them."""
    for column in (trials.c.metrics, trials.c.cost):
        invalid = select(trials.c.run, trials.c.number, column).where(func.json_valid(cast(column, Text)) == 0)
        for run, number, value in connection.execute(invalid).all():
            one = (trials.c.run == run) & (trials.c.number == number)
            connection.execute(trials.update().where(one).values({column: value}))


def _add_scores(connection: Connection) -> None:
    """Add the columns of version 4, with the score of each completed trial."""
    connection.execute(text("ALTER TABLE trials ADD COLUMN score FLOAT"))
    connection.execute(text("ALTER TABLE trials ADD COLUMN traceback TEXT"))
    for row in connection.execute(select(runs.c.name, runs.c.config)).all():
        objective = Objective.from_config(row.config)
        metric = trials.c.metrics[objective.metric].as_float()
        completed = (trials.c.run == row.name) & (trials.c.status == "completed")
        score = metric if objective.direction == "maximize" else -metric
        is_number = func.typeof(metric) != "text"  # rather than NaN
        connection.execute(trials.update().where(completed & is_number).values(score=score))
    by_score.create(connection)


def _with_newer_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of version 1 with the keys that were added later, at their neutral values."""
    for parts in (config, config.get("evaluator")):  # a run of the command line, and one of Python
        if not isinstance(parts, dict):
            continue
        if isinstance(parts.get("trainer"), dict):
            parts["trainer"].setdefault("validate_every", 1)
        data = parts.get("data")
        if isinstance(data, dict) and "Cifar10" in str(data.get("_target_") or data.get("type")):
            data.setdefault("pool", 1)
    if "choices" in config:
        config.setdefault("table", None)
        config["choices"].setdefault("table", None)
        config["choices"].setdefault("executor", "inline")
    return config
