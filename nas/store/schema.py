"""The tables of the SQL store. Change them only together with `VERSION` and a step that brings old stores along."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKeyConstraint, Integer, MetaData, String, Table, Text

VERSION = 1

metadata = MetaData()

meta = Table("cellnas_meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("name", String, primary_key=True),
    Column("seed", Integer, nullable=False),
    Column("config", JSON, nullable=False),
    Column("protocol", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("created", String, nullable=False, comment="UTC, ISO 8601"),
)

trials = Table(
    "trials",
    metadata,
    Column("run", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("architecture", JSON, nullable=False, comment="option index per decision"),
    Column("text", Text, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("fidelity", Integer),
    Column("info", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("cost", JSON, nullable=False),
    Column("reused_from", Integer),
    Column("error_kind", String),
    Column("error", Text),
    Column("finished", String, nullable=False, comment="UTC, ISO 8601"),
    ForeignKeyConstraint(["run"], ["runs.name"]),
)

curves = Table(
    "curves",
    metadata,
    Column("run", String, primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False, comment="from 1"),
    Column("metrics", JSON, nullable=False),
    ForeignKeyConstraint(["run", "trial"], ["trials.run", "trials.number"]),
)

retrainings = Table(
    "retrainings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", String),
    Column("trial", Integer),
    Column("space", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("protocol", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("folder", Text, nullable=False),
    Column("finished", String, nullable=False, comment="UTC, ISO 8601"),
)
