"""`nas draw`."""

import re

import pytest
from conftest import ARCH, QUICK_SETTINGS


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_text_a_published_name_and_a_trial_are_drawn(nas, tmp_path):
    draw = ["draw", f"arch={ARCH}", "space.channels=4", "space.cells=1", "out=one"]
    result = nas(*draw)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == str(tmp_path / "one" / "cell.svg")
    assert names(tmp_path / "one") == ["cell.png", "cell.svg", "network.png", "network.svg"]
    assert nas(*draw).returncode == 0  # the same files again
    assert nas("draw", "arch=DARTS_V2", "space.cells=3", "space.channels=4", "out=two").returncode == 0
    assert names(tmp_path / "two") == [
        f"{name}.{kind}" for name in ("network", "normal", "reduction") for kind in ("png", "svg")
    ]
    nas("search", "strategy=random", "budget.trials=1", "run=r", *QUICK_SETTINGS)
    assert nas("draw", "run=r").returncode == 0
    assert names(tmp_path / "pictures" / "r-trial-0") == ["cell.png", "cell.svg", "network.png", "network.svg"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["arch=nonsense"], 2, "is not a NAS-Bench-201 string"),
        ([], 2, "run=null and arch=null; expected one of run=, comparison= and arch="),
        ([f"arch={ARCH}", "out=full"], 2, "full is not an empty folder and was left unchanged"),
        (["arch=DARTS_V2", "space.cells=1"], 2, "space.cells must be a whole number of at least 3"),
    ],
)
def test_what_cannot_be_drawn_is_reported_in_a_sentence(refused, tmp_path, arguments, code, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    assert refused("draw", *arguments, match=re.escape(message), code=code).count("\n") == 1
    assert names(tmp_path) == ["full"]
    assert names(tmp_path / "full") == ["precious"]
