"""Nothing is lost when a process, a disk or a store fails: the short form of `long.py`."""

from pathlib import Path

import pytest
from damage import KINDS as DAMAGES
from damage import damage_stores
from full_disk import can_mount, fill_disk
from kills import kill_searches
from malformed import try_inputs
from nodes import cluster_of, lose_nodes
from servers import disturb
from writers import write_at_once

FOLDER = Path(__file__).parent
EXAMPLES = {"overrides": 20, "yaml": 5, "genotypes": 15, "tables": 20, "stores": 20, "imports": 20, "checkpoints": 4}
"""Kind of malformed input -> how many are tried."""


@pytest.mark.parametrize(("executor", "kills"), [("inline", 3), pytest.param("processes", 2, marks=pytest.mark.slow)])
def test_searches_that_are_killed_lose_nothing_and_end_as_uninterrupted_ones(tmp_path, executor, kills):
    result = kill_searches(tmp_path, executor, kills, trials=80)
    result.counts.check()
    assert result.times == kills


@pytest.mark.slow
def test_searches_on_ray_lose_nothing_by_a_kill_or_by_a_lost_node(tmp_path):
    pytest.importorskip("ray")
    with cluster_of(2) as nodes:
        killed = kill_searches(
            tmp_path / "kill", "ray", 1, trials=80, address=nodes.address, left_workers=nodes.left_workers
        )
        lost = lose_nodes(nodes, tmp_path / "lose", 1)
    killed.counts.check()
    lost.counts.check()
    assert (killed.times, lost.times) == (1, 1)


@pytest.mark.slow
def test_a_search_on_postgresql_survives_the_loss_of_one_of_two_ray_nodes(tmp_path, postgres):
    pytest.importorskip("ray")
    with cluster_of(2) as nodes:
        result = lose_nodes(nodes, tmp_path / "lose", 1, url=postgres.url(postgres.database()))
    result.counts.check()
    assert result.times == 1


def test_four_writers_of_one_sqlite_file_lose_and_double_nothing(tmp_path):
    result = write_at_once(tmp_path, writers=4, trials=50)
    result.counts.check()
    assert result.times == 200


@pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")
@pytest.mark.parametrize(("kind", "times"), [("search", 4), ("retrain", 1), ("genotype", 2)])
def test_a_full_disk_is_one_sentence_and_the_same_command_continues_when_it_is_not(tmp_path, monkeypatch, kind, times):
    monkeypatch.syspath_prepend(str(FOLDER))
    result = fill_disk(tmp_path, kind, times)
    result.counts.check()
    assert result.times == times


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_store_opens_with_what_was_stored_before_or_is_refused_in_one_sentence(tmp_path, kind):
    damage_stores(tmp_path, kind, 1 if kind == "lost log" else 5).counts.check()


def test_two_writers_of_one_postgresql_database_lose_and_double_nothing(tmp_path, postgres):
    write_at_once(tmp_path, 2, 50, postgres.url(postgres.database()), "PostgreSQL").counts.check()


@pytest.mark.parametrize("how", [pytest.param("cut", marks=pytest.mark.slow), "crash"])  # cut: store/test_postgres.py
def test_a_search_survives_that_its_database_fails(tmp_path, postgres, how):
    result = disturb(postgres, tmp_path, how, 2)
    result.counts.check()
    assert result.times == 2


@pytest.mark.parametrize(("kind", "examples"), EXAMPLES.items())
def test_malformed_inputs_end_with_one_sentence_and_change_no_file(tmp_path, monkeypatch, kind, examples):
    monkeypatch.syspath_prepend(str(FOLDER))
    result = try_inputs(tmp_path, kind, examples)
    result.counts.check()
    assert result.times > examples // 2  # equal inputs are tried once
