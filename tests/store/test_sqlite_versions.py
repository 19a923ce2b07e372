"""SQLite files of other versions."""

import math
import sqlite3

import pytest
from conftest import filled, steep

from nas import Budget, UsageError, UserError, search
from nas.store.base import Run
from nas.store.sqlite import SQLiteStore
from nas.strategies.random import RandomSearch


def test_a_store_of_a_newer_version_is_refused_and_unchanged(store, trial):
    filled(store, trial)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE cellnas_meta SET value = '99' WHERE key = 'schema'")
    before = store.path.read_bytes()
    for use in (lambda: store.trials("first"), lambda: store.open(Run("first", 0)).__enter__()):
        with pytest.raises(
            UsageError, match=r"made by a newer version of cellnas \(schema 99, this one reads up to 4\)"
        ):
            use()
    assert store.path.read_bytes() == before


VERSION_1 = """
CREATE TABLE cellnas_meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (key));
CREATE TABLE runs (name VARCHAR NOT NULL, seed INTEGER NOT NULL, config JSON NOT NULL, protocol JSON NOT NULL,
    environment JSON NOT NULL, created VARCHAR NOT NULL, PRIMARY KEY (name));
CREATE TABLE trials (run VARCHAR NOT NULL, number INTEGER NOT NULL, architecture JSON NOT NULL, text TEXT NOT NULL,
    canonical TEXT NOT NULL, fidelity INTEGER, info JSON NOT NULL, seed INTEGER NOT NULL, status VARCHAR NOT NULL,
    metrics JSON NOT NULL, seconds FLOAT NOT NULL, cost JSON NOT NULL, reused_from INTEGER, error_kind VARCHAR,
    error TEXT, finished VARCHAR NOT NULL, PRIMARY KEY (run, number), FOREIGN KEY(run) REFERENCES runs (name));
CREATE TABLE curves (run VARCHAR NOT NULL, trial INTEGER NOT NULL, epoch INTEGER NOT NULL, metrics JSON NOT NULL,
    PRIMARY KEY (run, trial, epoch), FOREIGN KEY(run, trial) REFERENCES trials (run, number));
INSERT INTO cellnas_meta VALUES ('schema', '1');
"""
"""The tables as the first version created them."""


def test_a_store_of_the_first_version_is_read_as_it_is_and_upgraded_when_it_is_written(tmp_path, toy_space):
    whole = search(toy_space, RandomSearch, steep, budget=Budget(trials=6), run="old")
    path = tmp_path / "nas.db"
    store = SQLiteStore(f"sqlite:///{path}")
    search(toy_space, RandomSearch, steep, budget=Budget(trials=3), store=store, run="old")
    with sqlite3.connect(path) as connection:
        run = list(connection.execute("SELECT name, seed, config, protocol, environment, created FROM runs"))
        columns = [
            column
            for _, column, *_ in connection.execute("PRAGMA table_info(trials)")
            if column not in ("told_before", "finish_order", "score", "traceback")
        ]
        trials = list(connection.execute(f"SELECT {', '.join(columns)} FROM trials ORDER BY number"))
    for file in tmp_path.glob("nas.db*"):
        file.unlink()
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
        connection.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * 6)})", run)
        connection.executemany(f"INSERT INTO trials ({', '.join(columns)}) VALUES ({', '.join('?' * 16)})", trials)
        connection.execute("UPDATE trials SET metrics = replace(metrics, '}', ', \"loss\": NaN}') WHERE number = 1")
    before = path.read_bytes()
    assert [trial.number for trial in store.trials("old")] == [0, 1, 2]
    assert (store.status("old").state, store.status("old").trials) == ("interrupted", 3)
    assert path.read_bytes() == before

    with pytest.warns(
        UserWarning, match=r"upgraded from schema 1 to 4; the file as it was is kept as nas.db.schema1.bak"
    ):
        again = search(toy_space, RandomSearch, steep, budget=Budget(trials=6), store=store, run="old")
    copy = SQLiteStore(f"sqlite:///{tmp_path}/nas.db.schema1.bak")
    assert [trial.number for trial in copy.trials("old")] == [0, 1, 2]
    assert math.isnan(store.trials("old")[1].metrics["loss"])
    assert [trial.text for trial in again.trials] == [trial.text for trial in whole.trials]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT value FROM cellnas_meta").fetchall() == [("4",)]
        assert connection.execute("SELECT finish_order FROM trials ORDER BY number").fetchall() == [
            (n,) for n in range(6)
        ]
        scores = connection.execute("SELECT score FROM trials ORDER BY number").fetchall()
        assert scores == [(trial.metrics["valid_accuracy"],) for trial in whole.trials]


def test_an_upgrade_without_room_for_a_copy_changes_nothing(store, trial, monkeypatch):
    filled(store, trial)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE cellnas_meta SET value = '3' WHERE key = 'schema'")
    before = store.path.read_bytes()

    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        UserError, match=r"no copy of it could be saved as nas.db.schema3.bak .*No space left.*nothing was"
    ):
        store.prepare()
    assert store.path.read_bytes() == before
    assert not list(store.path.parent.glob("*bak*"))
