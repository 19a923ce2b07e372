"""Nothing is lost when a process, a disk or a store fails: the short form of `long.py`."""

from pathlib import Path

import pytest
from damage import KINDS as DAMAGES
from damage import damage_stores
from full_disk import can_mount, fill_disk
from kills import kill_searches
from servers import disturb
from writers import write_at_once

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_searches_that_are_killed_lose_nothing_and_end_as_uninterrupted_ones(tmp_path, executor):
    result = kill_searches(tmp_path, executor, 6, trials=100)
    result.counts.check()
    assert result.times == 6


def test_four_writers_of_one_sqlite_file_lose_and_double_nothing(tmp_path):
    result = write_at_once(tmp_path, writers=4, trials=50)
    result.counts.check()
    assert result.times == 200


@pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")
@pytest.mark.parametrize(("kind", "times"), [("search", 6), ("retrain", 2), ("genotype", 3)])
def test_a_full_disk_is_one_sentence_and_the_same_command_continues_when_it_is_not(tmp_path, monkeypatch, kind, times):
    monkeypatch.syspath_prepend(str(FOLDER))
    result = fill_disk(tmp_path, kind, times)
    result.counts.check()
    assert result.times == times


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_store_opens_with_what_was_stored_before_or_is_refused_in_one_sentence(tmp_path, kind):
    damage_stores(tmp_path, kind, 1 if kind == "lost log" else 8).counts.check()


def test_two_writers_of_one_postgresql_database_lose_and_double_nothing(tmp_path, postgres):
    write_at_once(tmp_path, 2, 50, postgres.url(postgres.database()), "PostgreSQL").counts.check()


@pytest.mark.parametrize("how", ["cut", "crash"])
def test_a_search_survives_that_its_database_fails(tmp_path, postgres, how):
    result = disturb(postgres, tmp_path, how, 2)
    result.counts.check()
    assert result.times == 2
