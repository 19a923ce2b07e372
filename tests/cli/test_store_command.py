"""`nas store`: whether a store is sound, copies of it, and its runs in another store or in a file."""

import gzip
import json
import math
import sqlite3
from dataclasses import replace

import pytest

from nas.store.base import Retraining, Run
from nas.store.by_url import store_at
from nas.store.sqlite import SQLiteStore


def fill(store, trial, trials=5, name="one", **config):
    """Store a run with a curve, NaN and infinity, and a retraining of its first trial."""
    with store.open(Run(name, 0, {"note": "é", **config}), 9) as record:
        for number in range(len(record.trials), trials):
            metrics = {"valid_accuracy": number / 10, "latency": [math.nan, math.inf, -math.inf, 1.0, 2.0][number % 5]}
            curve = [{"loss": 1.0}, {"loss": math.nan}]
            record.add(replace(trial(number, 0.5), metrics=metrics, curve=curve, told_before=number), elapsed=1.0)
        record.add(trial(trials, None))
        record.end_session(2.0, "budget")
    return store


def retraining(run="one"):
    return Retraining(run, 0, "toy", "t", "c", 1, {"recipe": {}}, {"test_accuracy": 0.5}, 1.0, "folder")


def contents(store):
    """Everything in a store, in a form in which NaN equals itself."""
    runs = [(run, store.status(run.name), store.trials(run.name)) for run in store.runs()]
    return repr([runs, store.retrainings()])


@pytest.fixture
def store(nas, tmp_path, trial):
    store = fill(SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}"), trial)
    store.add_retraining(retraining())
    return store


@pytest.fixture(params=["sqlite", "postgres"])
def other_url(request, tmp_path):
    """A store of each kind that does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'other.db'}"
    server = request.getfixturevalue("postgres")
    return server.url(server.database())


def test_a_sound_store_is_described(store, nas):
    result = nas("store", "check")
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "SQLite file with a write-ahead log, schema 4", "1 run, 6 trials, 1 retraining", "store nas.db is sound"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "UPDATE trials SET score = 0.9 WHERE number = 2",
            "run 'one': the score of trial 2 (0.9) is not what its metrics say",
        ),
        ("UPDATE trials SET metrics = '{' WHERE number = 1", "run 'one': metrics of trial 1 cannot be read"),
        ("UPDATE runs SET config = 'x'", "the settings of run 'one' cannot be read"),
        (
            "UPDATE trials SET run = 'lost' WHERE number = 5",
            "trials belong to run 'lost', which the store does not have",
        ),
        ("DELETE FROM trials WHERE number = 0", "curves belong to missing trials of run 'one'"),
    ],
)
def test_what_is_wrong_is_said_in_words(store, nas, statement, problem):
    with sqlite3.connect(store.path) as connection:
        connection.execute(statement)
    result = nas("store", "check")
    assert result.returncode == 1
    assert f"problem: {problem}" in result.stdout


def test_trials_that_a_stopped_run_lacks_are_a_note(store, nas):
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM trials WHERE number = 3")
        connection.execute("DELETE FROM curves WHERE trial = 3")
    result = nas("store", "check")
    assert result.returncode == 0
    assert "run 'one' lacks 1 trial (3), which were in progress when it was stopped" in result.stdout


def test_what_is_readable_of_a_damaged_file_is_counted_and_saved(nas, tmp_path, trial):
    store = SQLiteStore(f"sqlite:///{tmp_path / 'nas.db'}")
    with store.open(Run("one", 0)) as record:
        for number in range(300):
            record.add(trial(number, 0.5))
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT pageno FROM dbstat WHERE name='trials' AND pagetype='leaf' LIMIT 1 OFFSET 3"
        ).fetchone()
    connection.close()
    with store.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    result = nas("store", "check", "out=saved.db")
    assert result.returncode == 1
    assert "problem: the file is damaged" in result.stdout
    readable = int(result.stdout.partition("run 'one': ")[2].partition(" of 300 trials can be read")[0])
    assert 250 < readable < 300
    assert f"what can be read was saved: {readable} trials in saved.db" in result.stdout
    assert len(SQLiteStore("sqlite:///saved.db").trials("one")) == readable
    assert nas("store", "backup", "out=copy.db").returncode == 1
    assert not (tmp_path / "copy.db").exists()


def test_a_store_in_use_is_copied_as_it_is_at_one_moment(store, nas, trial):
    with store.open(replace(store.runs()[0]), 9) as record:
        record.add(trial(6, 0.5))
        result = nas("store", "backup", "out=copy.db")
        record.add(trial(7, 0.5))
    assert (result.returncode, result.stdout) == (0, "nas.db was copied to copy.db\n")
    assert len(SQLiteStore("sqlite:///copy.db").trials("one")) == 7
    assert nas("store", "check", "store.url=sqlite:///copy.db").returncode == 0


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_a_file_of_lines_brings_everything_to_another_store_and_back(store, nas, other_url, tmp_path, name):
    assert nas("store", "export", f"out={name}").stdout == f"1 run, 6 trials and 1 retraining were written to {name}\n"
    assert nas("store", "import", f"from={name}", f"store.url={other_url}").returncode == 0
    other = store_at(other_url)
    assert contents(other) == contents(store)
    again = nas("store", "import", f"from={name}", f"store.url={other_url}").stdout
    assert "0 runs, 0 trials and 0 retrainings were added" in again
    assert contents(other) == contents(store)
    nas("store", "export", "out=back.jsonl", f"store.url={other_url}")
    text = gzip.decompress((tmp_path / name).read_bytes()) if name.endswith("gz") else (tmp_path / name).read_bytes()
    assert (tmp_path / "back.jsonl").read_bytes() == text


def test_a_store_is_merged_without_duplicates(store, nas, other_url, trial):
    other = fill(fill(store_at(other_url), trial, 3, "two"), trial, 4, "three")
    merged = nas("store", "merge", f"from={other_url}")
    assert merged.stdout.startswith("2 runs, 9 trials and 0 retrainings were added to nas.db")
    before = contents(store)
    assert nas("store", "merge", f"from={other_url}").stdout.endswith("2 runs had nothing new\n")
    assert contents(store) == before
    with other.open(Run("two", 0, {"note": "é"})) as record:
        record.add(trial(4, 0.75))
    assert "1 run had new trials" in nas("store", "merge", f"from={other_url}").stdout
    assert [one.number for one in store.trials("two")] == [0, 1, 2, 3, 4]


def test_runs_of_one_name_that_differ_are_refused_or_renamed(store, nas, refused, trial, tmp_path):
    other = fill(fill(SQLiteStore(f"sqlite:///{tmp_path / 'other.db'}"), trial, 2, "one", lr=0.5), trial, 2, "two")
    before = contents(store)
    refused("store", "merge", "from=other.db", match=r"run 'one': lr=unset \(now 0.5\). Set rename=SUFFIX")
    assert contents(store) == before
    result = nas("store", "merge", "from=other.db", "rename=-laptop")
    assert "run 'one' was added as 'one-laptop'" in result.stdout
    assert [run.name for run in store.runs()] == ["one", "one-laptop", "two"]
    assert "2 runs had nothing new" in nas("store", "merge", "from=other.db", "rename=-laptop").stdout
    assert len(other.runs()) == 2


def test_other_results_under_the_same_settings_are_refused(store, refused, trial, tmp_path):
    fill(SQLiteStore(f"sqlite:///{tmp_path / 'other.db'}"), trial)
    with sqlite3.connect("other.db") as connection:
        connection.execute("UPDATE trials SET metrics = '{\"valid_accuracy\": 0.7}' WHERE number = 3")
    refused("store", "merge", "from=other.db", match="run 'one': trial 3 has other results")


def test_only_the_run_that_is_being_written_is_refused(store, nas, trial, tmp_path):
    fill(fill(SQLiteStore(f"sqlite:///{tmp_path / 'other.db'}"), trial), trial, 2, "two")
    with store.open(Run("two", 0)):
        result = nas("store", "merge", "from=other.db")
    assert result.returncode == 1
    assert (
        "nothing was taken of run 'two': run 'two' of store nas.db is being written by another process" in result.stdout
    )


def test_a_damaged_line_is_named_and_nothing_is_imported(store, nas, refused, tmp_path):
    nas("store", "export", "out=all.jsonl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()

    def damaged(number, text):
        (tmp_path / "bad.jsonl").write_text("\n".join([*lines[: number - 1], *text, *lines[number:]]) + "\n")
        return "store", "import", "from=bad.jsonl", "store.url=sqlite:///new.db"

    refused(*damaged(4, ["{"]), match="from=bad.jsonl: line 4 is damaged: .*; nothing was imported")
    refused(*damaged(4, []), match="the end|neither a run, a trial")
    refused(*damaged(3, [lines[3]]), match="line 4 is damaged: it is not the next trial of run 'one'")
    refused(
        *damaged(5, ['{"trial": {"run": "one", "number": 2}}']), match="line 5 is damaged: its trial lacks architecture"
    )
    wrong = json.loads(lines[4])
    wrong["trial"]["metrics"] = "none"
    refused(*damaged(5, [json.dumps(wrong)]), match="line 5 is damaged: metrics of its trial cannot be 'none'")
    refused(
        *damaged(len(lines), []), match="is cut off after line 9: 1 runs, 6 trials, 1 retrainings are there, and no end"
    )
    newer = lines[0].replace("4", "99")
    refused(*damaged(1, [newer]), match="was written by a newer version of cellnas .schema 99, this one reads up to 4.")
    refused(*damaged(1, ["text"]), match="is not a file of nas store export")
    assert not (tmp_path / "new.db").exists() or not SQLiteStore("sqlite:///new.db").runs()
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    refused("store", "import", "from=cut.gz", match="from=cut.gz cannot be read")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nas store needs an action, such as nas store check: one of check, backup, merge, export, import"),
        (["chek"], r"unknown action 'chek' \(did you mean 'check'\?\); expected check, backup"),
        (["backup"], "nas store backup needs out=FILE"),
        (["merge"], "nas store merge needs from=FILE"),
        (["backup", "out=nas.db"], "out=nas.db exists and was left unchanged; set out= to a new file"),
        (["export", "out=no/all.jsonl"], "out=no/all.jsonl: there is no folder"),
        (["check", "from=a"], "from=a has no effect on nas store check; leave it out"),
        (["merge", "from=nas.db"], "from=nas.db is the store itself"),
        (
            ["merge", "from=none.db"],
            "from=none.db: there is no store none.db; run nas search first, or set from",
        ),
        (["import", "from=none"], r"from=none cannot be read \(No such file or directory\)"),
        (["import", "from=nas.db"], "from=nas.db is not a file of nas store export"),
        (["merge", "from=foreign.db"], "foreign.db is a database of another program"),
        (["merge", "from=newer.db"], "newer.db was made by a newer version of cellnas"),
        (["check", "store.url=sqlite:///text.db"], "text.db is not an SQLite database"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(store, refused, tmp_path, arguments, message):
    with sqlite3.connect(tmp_path / "foreign.db") as connection:
        connection.execute("CREATE TABLE music (x)")
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("CREATE TABLE cellnas_meta (key, value)")
        connection.execute("INSERT INTO cellnas_meta VALUES ('schema', '99')")
    (tmp_path / "text.db").write_text("not a database, but a text")
    refused("store", *arguments, match=message)


def test_a_backup_of_a_server_names_what_to_use(nas, postgres, refused, trial):
    url = postgres.url(postgres.database())
    fill(store_at(url), trial)
    assert nas("store", "check", f"store.url={url}").returncode == 0
    refused("store", "backup", "out=copy.db", f"store.url={url}", match="use pg_dump, or nas store export out=FILE")


def test_a_copy_that_does_not_fit_on_the_disk_leaves_nothing(store, nas, tmp_path, monkeypatch):
    def full(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nas.store.backup.os.fsync", full)
    result = nas("store", "export", "out=all.jsonl")
    assert result.returncode == 1
    assert "out=" in result.stderr
    assert "cannot be written (No space left on device); free some space" in result.stderr
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == []
