"""A sweep that is killed twice ends with the runs and trials of an undisturbed one, wherever jobs and store are."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nas.store.base import NoStore
from nas.store.by_url import store_at

SETTINGS = [
    "strategy=random,regularized_evolution",
    "seed=range(0,3)",
    "data=digits",
    "trainer=tiny",
    "budget.trials=6",
]
RUNS = {f"lab-strategy={strategy}-seed={seed}" for strategy in ("random", "regularized_evolution") for seed in range(3)}
SLOW = pytest.mark.slow


def trials(url):
    """Run -> what a repeat gives again of each trial."""
    store = store_at(url)
    return {
        run.name: [
            (trial.number, trial.text, trial.seed, trial.status, trial.metrics) for trial in store.trials(run.name)
        ]
        for run in store.runs()
    }


def count(url):
    try:
        return sum(map(len, trials(url).values()))
    except NoStore:
        return 0


@pytest.fixture
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/nas.db"
    server = request.getfixturevalue("postgres")
    return server.url(server.database())


@pytest.mark.parametrize(
    ("launcher", "url"),
    [
        pytest.param("local", "sqlite", marks=SLOW),
        pytest.param("local", "postgres", marks=SLOW),
        pytest.param("ray", "sqlite", marks=SLOW),
        pytest.param("ray", "postgres", marks=SLOW),
    ],
    indirect=["url"],
)
def test_a_sweep_killed_twice_ends_with_exactly_its_six_runs(tmp_path, launcher, url):
    command = [
        sys.executable,
        "-m",
        "nas",
        "search",
        "-m",
        *SETTINGS,
        "sweep=lab",
        f"launcher={launcher}",
        f"store.url={url}",
    ]

    def start():
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    before = 0
    for _ in range(2):
        sweep = start()
        deadline = time.monotonic() + 300
        while count(url) < before + 5:
            assert sweep.poll() is None, sweep.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.communicate()
        before = count(url)
    assert before < 36, "it was killed too late to show anything"
    out, err = start().communicate(timeout=600)
    assert "sweep lab: 6 of 6 jobs done" in out, err
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    again = [*command[:-2], "launcher.jobs=2"]
    subprocess.run(again, cwd=undisturbed, check=True, capture_output=True)
    expected = trials(f"sqlite:///{undisturbed}/nas.db")
    assert set(expected) == RUNS
    assert {len(each) for each in expected.values()} == {6}
    assert trials(url) == expected
