import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from conftest import filled, steep

from nas import Budget, Proposal, UsageError, UserError, search
from nas.store.base import Retraining, Run
from nas.store.memory import MemoryStore
from nas.store.sqlite import SQLiteStore
from nas.strategies.random import RandomSearch


def test_what_goes_in_comes_out(store, trial):
    trials = filled(store, trial)
    assert trials[:3] == [
        trial(n, n / 10, curve=({"valid_accuracy": 0.1}, {"valid_accuracy": n / 10})) for n in range(3)
    ]
    assert (trials[3].status, trials[3].error_kind, trials[3].error) == ("failed", "error", "made to fail")
    run = store.runs()[0]
    assert (run.name, run.seed, run.config) == ("first", 0, {"strategy": {"sample_size": 3}})


def test_memory_and_sqlite_store_the_same(store, trial):
    assert filled(store, trial) == filled(MemoryStore(), trial)


def test_a_trial_is_on_disk_once_add_returns(store, trial):
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.5))
        assert [t.number for t in SQLiteStore(store.url).trials("first")] == [0]


def test_a_trial_is_one_transaction(store, trial):
    """If its curve cannot be written, neither is the trial; those before it stay."""
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.5))
        with pytest.raises(UserError, match=r"JSON"):
            record.add(trial(1, 0.6, curve=({"valid_accuracy": object()},)))
        record.add(trial(1, 0.7))
    assert [t.metrics["valid_accuracy"] for t in store.trials("first")] == [0.5, 0.7]


def test_two_processes_may_write_two_runs_but_not_the_same_one(store, trial):
    with store.open(Run("first", 0)) as first:
        first.add(trial(0, 0.1))
        other = SQLiteStore(store.url)
        with other.open(Run("second", 0)) as second:
            second.add(trial(0, 0.2))
        with (
            pytest.raises(UsageError, match=r"run 'first' of store .* is being written by another process"),
            other.open(Run("first", 0)),
        ):
            pass
    with SQLiteStore(store.url).open(Run("first", 0)) as record:
        assert len(record.trials) == 1


@pytest.mark.parametrize(
    ("column", "value"), [("metrics", "'{\"valid_acc'"), ("architecture", "'5'"), ("info", "x'ff00'")]
)
def test_a_damaged_value_is_one_sentence(store, trial, column, value):
    """SQLite has no checksums in its main file, so it returns what the disk returns."""
    filled(store, trial)
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"UPDATE trials SET {column} = {value} WHERE number = 1")
    connection.close()
    expected = (
        r"^store .*nas.db( holds a value that cannot be read \(.*; nas store check|: Could not .*; the file is dam)"
    )
    with pytest.raises(UserError, match=expected):
        store.trials("first")


def test_a_run_whose_settings_are_lost_is_one_sentence(store, trial):
    filled(store, trial)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET config = 'null'")
    connection.close()
    message = (
        r"holds a value that cannot be read \(ValueError: the settings of run 'first' are missing\); nas store check"
    )
    with pytest.raises(UserError, match=message):
        store.runs()
    with pytest.raises(UserError, match=message), store.open(Run("first", 0)):
        pass


def test_several_searches_in_threads_lose_nothing(store, toy_space):
    def work(name):
        search(toy_space, RandomSearch, steep, budget=Budget(trials=40), store=SQLiteStore(store.url), run=name)

    threads = [threading.Thread(target=work, args=(f"run {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {run.name: len(store.trials(run.name)) for run in store.runs()} == {f"run {i}": 40 for i in range(4)}


def test_a_file_that_stays_locked_costs_no_result(tmp_path, trial, monkeypatch):
    monkeypatch.setattr("nas.store.sqlite.BUSY_SECONDS", 0.05)
    store = SQLiteStore(f"sqlite:///{tmp_path}/nas.db", patience=0.2)
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.1))
        with sqlite3.connect(store.path) as other:
            other.execute("BEGIN IMMEDIATE")
            with (
                pytest.warns(UserWarning, match="trial 1 could not be stored, trying again for 0.2 s"),
                pytest.raises(UserError, match=r"another process is using it.*trial 1 is kept in .*nas.db-unstored-"),
            ):
                record.add(trial(1, 0.2))
    with store.open(Run("first", 0)) as record:
        assert [trial.number for trial in record.trials] == [0, 1]


def test_a_search_is_not_refused_because_another_process_looks_at_it(store, trial):
    stored = filled(store, trial)
    stop, seen = threading.Event(), []

    def look():
        while not stop.is_set():
            seen.append(store.status("first").trials)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            with store.open(Run("first", 0, {"strategy": {"sample_size": 3}})) as record:
                assert len(record.trials) == len(stored)
    finally:
        stop.set()
        looking.join()
    assert set(seen) == {len(stored)}


def test_other_files_are_refused_and_unchanged(tmp_path):
    text = tmp_path / "notes.db"
    text.write_text("my notes, not a database")
    foreign = tmp_path / "other.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    for path, message in (
        (text, "is not an SQLite database"),
        (foreign, "of another program"),
        (tmp_path, "is a folder"),
    ):
        store = SQLiteStore(f"sqlite:///{path}")
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(UsageError, match=message):
            store.open(Run("first", 0)).__enter__()
        with pytest.raises(UsageError, match=message):
            store.runs()
        assert before is None or path.read_bytes() == before


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(store, trial):
    filled(store, trial)
    store.path.chmod(0o444)
    with pytest.raises(UsageError, match=r"is read-only; make it writable"):
        store.open(Run("second", 0)).__enter__()
    assert len(store.trials("first")) == 4


def test_reading_leaves_no_temporary_file(store, trial):
    filled(store, trial)
    before = {path.name for path in store.path.parent.iterdir()}
    assert not before & {"nas.db-wal", "nas.db-shm"}
    store.runs()
    assert {path.name for path in store.path.parent.iterdir()} == before


def test_reading_creates_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"there is no store"):
        SQLiteStore(f"sqlite:///{tmp_path}/none.db").runs()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["nas.db", "postgresql://host/db", "sqlite:///", "sqlite:///:memory:", 3])
def test_urls_of_other_kinds_are_refused(url):
    with pytest.raises(UsageError, match=r"store.url must be sqlite:///FILE"):
        SQLiteStore(url)


def test_a_full_disk_is_reported_in_one_sentence_and_costs_no_stored_trial(store, trial):
    """SQLite's own page limit simulates the full disk."""
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.5))
        pages = record.connection.exec_driver_sql("PRAGMA page_count").scalar()
        record.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        record.connection.commit()

        def fill():
            for number in range(1, 1000):
                record.add(trial(number, 0.5))

        with pytest.raises(UserError, match=r"disk is full; free some space .*trials stored before are safe"):
            fill()
    stored = [t.number for t in store.trials("first")]
    assert stored == list(range(len(stored)))
    assert 1 <= len(stored) < 1000


def test_retrainings_are_stored(store):
    retraining = Retraining("first", 3, "toy", "d0=a", "d0=a", 0, {"data": "x"}, {"test_accuracy": 0.5}, 1.5, "runs/x")
    store.add_retraining(retraining)
    assert store.retrainings() == [retraining]


def test_a_link_to_the_store_is_the_same_store(store, trial, tmp_path):
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.1))
        (tmp_path / "link.db").symlink_to(store.path)
        with pytest.raises(UsageError, match=r"is being written by another process"):
            SQLiteStore(f"sqlite:///{tmp_path}/link.db").open(Run("first", 0)).__enter__()


def test_a_value_that_cannot_be_stored_is_reported_in_one_sentence(store, trial):
    unserializable = replace(trial(0, 0.1), proposal=Proposal((0,) * 6, info={"rung": object()}))
    with store.open(Run("first", 0)) as record:
        with pytest.raises(UserError, match=r"not JSON serializable"):
            record.add(unserializable)
        record.add(trial(0, 0.2))
    assert len(store.trials("first")) == 1


def test_an_empty_file_is_an_empty_store(store, trial):
    store.path.touch()
    with pytest.raises(UsageError, match=r"is empty; run nas search first"):
        store.runs()
    assert len(filled(store, trial)) == 4


@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_that_is_removed_during_a_search_is_noticed_at_the_next_trial(toy_space, tmp_path, replaced):
    path = tmp_path / "nas.db"

    def removing(proposal, context):
        if SQLiteStore(f"sqlite:///{path}").trials("search"):
            path.unlink()
            if replaced:
                path.write_bytes(b"")
        return steep(proposal, context)

    message = "was removed or replaced during run 'search': trial 1 cannot be stored, and the 1 before it"
    with pytest.raises(UserError, match=message):
        search(toy_space, RandomSearch, removing, budget=Budget(trials=5), store=SQLiteStore(f"sqlite:///{path}"))


def test_a_relative_path_is_resolved_once(toy_space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    store = SQLiteStore("sqlite:///nas.db")

    def moving(proposal, context):
        monkeypatch.chdir(tmp_path / "elsewhere")
        return steep(proposal, context)

    search(toy_space, RandomSearch, moving, budget=Budget(trials=2), store=store, run="moving")
    assert len(store.trials("moving")) == 2
    with pytest.warns(UserWarning, match="which holds values"):
        result = search(toy_space, RandomSearch, moving, budget=Budget(trials=3), store=store, run="moving")
    assert len(result.trials) == 3
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with pytest.raises(UsageError, match=r"there is no store other.db; run nas search first"):
        SQLiteStore("sqlite:///other.db").runs()


def test_reading_a_store_while_this_process_writes_it_keeps_its_locks(store, trial):
    """Another process that closes the store last would otherwise remove the log, and what is written to it later."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute(sys.argv[2]).fetchone()); c.close()"
    )

    def elsewhere(query):
        command = [sys.executable, "-c", program, str(store.path), query]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.5))
        assert [run.name for run in store.runs()] == ["first"]
        assert len(store.trials("first")) == 1
        assert elsewhere("SELECT COUNT(*) FROM trials") == "1"
        record.add(trial(1, 0.5))
        assert elsewhere("SELECT COUNT(*) FROM trials") == "2"
    assert elsewhere("PRAGMA integrity_check") == "ok"
