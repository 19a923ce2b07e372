"""`nas draw`."""

import pytest
from conftest import ARCH, QUICK


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_text_a_published_name_and_a_trial_are_drawn(nas, tmp_path):
    result = nas("draw", f"arch={ARCH}", "out=one")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, str(tmp_path / "one" / "cell.svg"))
    assert names(tmp_path / "one") == ["cell.png", "cell.svg", "network.png", "network.svg"]
    assert nas("draw", f"arch={ARCH}", "out=one").returncode == 0  # the very same files
    assert nas("draw", "arch=DARTS_V2", "space.cells=5", "out=two").returncode == 0
    assert names(tmp_path / "two") == [
        f"{name}.{kind}" for name in ("network", "normal", "reduction") for kind in ("png", "svg")
    ]
    nas("search", "strategy=random", "budget.trials=1", "run=r", *QUICK)
    assert nas("draw", "run=r").returncode == 0
    assert names(tmp_path / "pictures" / "r-trial-0") == ["cell.png", "cell.svg", "network.png", "network.svg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["arch=nonsense"], "is not a NAS-Bench-201 string"),
        ([], "run=null and arch=null; expected a run, a comparison or an architecture"),
        ([f"arch={ARCH}", "out=full"], "full is not an empty folder and was left unchanged"),
        (["arch=DARTS_V2", "space.cells=1"], "space.cells must be a whole number of at least 3"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_sentence(nas, tmp_path, words, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    result = nas("draw", *words)
    assert (result.returncode in (1, 2), said in result.stderr, result.stderr.count("\n")) == (True, True, 1)
    assert names(tmp_path) == ["full"]
    assert names(tmp_path / "full") == ["precious"]
