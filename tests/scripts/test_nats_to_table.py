"""The converter, on a stand-in with the interface of nats_bench 1.8, since the release itself is not available."""

import subprocess
import sys

import pytest
from conftest import ROOT

from nas.config.settings import compose
from search_spaces.nasbench201 import NASBench201

sys.path.insert(0, str(ROOT / "scripts"))
import nats_to_table


class StandIn:
    """Has the interface of the release; the number of an architecture determines its values."""

    texts = tuple(NASBench201().to_text(architecture) for architecture in NASBench201().architectures())

    def __len__(self):
        return len(self.texts)

    def arch(self, index):
        return self.texts[index]

    def get_more_info(self, index, dataset, iepoch=None, hp="12", is_random=True):
        assert is_random is False
        info = {"valid-accuracy": index / 200, "train-all-time": 1000.0 + index}
        return info if dataset == "cifar10-valid" else info | {"test-accuracy": index / 200 + 0.5}


def test_the_table_is_read_back_by_the_evaluator(tmp_path, monkeypatch):
    out = tmp_path / "nasbench201" / "nb201_table.csv.gz"
    out.parent.mkdir()
    assert nats_to_table.write(StandIn(), out) == 15625
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    settings = compose("search", ["evaluator=table", "table=nasbench201"])
    space = settings.make("space")
    rows = settings.make("table").of(space)
    position = rows.position(space.from_text(StandIn.texts[77]))
    assert rows.values[position] == pytest.approx(77 / 200 / 100)
    assert rows.costs[position] == pytest.approx(0.06 * 1077)
    assert rows.reported["c10_test_acc_200"][position] == pytest.approx(77 / 200 + 0.5)


def test_a_value_that_the_release_lacks_is_an_error(tmp_path):
    class Lacking(StandIn):
        def get_more_info(self, index, dataset, **more):
            return {"valid-accuracy": 1.0} if index == 3 else super().get_more_info(index, dataset, **more)

    with pytest.raises(ValueError, match=r"no test-accuracy of architecture 3 on cifar10 after 12 epochs"):
        nats_to_table.write(Lacking(), tmp_path / "table.csv.gz")
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_every_column_that_the_yaml_names(tmp_path):
    table = compose("search", ["evaluator=table", "table=nasbench201"]).make("table")
    assert {table.column, table.cost, *table.reported} <= set(nats_to_table.COLUMNS)


def test_its_help_states_that_it_was_tested_on_a_stand_in():
    script = [sys.executable, str(ROOT / "scripts" / "nats_to_table.py")]
    done = subprocess.run([*script, "--help"], capture_output=True, text=True, check=True)
    assert "tested on a stand-in" in done.stdout
    missing = subprocess.run([*script, "/nowhere", "a.csv.gz"], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "/nowhere does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
