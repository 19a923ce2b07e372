"""A search that is killed at a random moment and run again ends with the trials of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

from conftest import stored_trials

from nas.formatting import plural

TRIALS = 6
SEARCH = [
    "search", "strategy=regularized_evolution", "strategy.population_size=3", "data=digits", f"budget.trials={TRIALS}",
    "run=killed", "seed=5", "trainer.threads=1", "trainer.train_images=64", "trainer.valid_images=64",
    "trainer.epochs=1", "trainer.network={channels: 4, cells: 1}",
]  # fmt: skip


def trials(nas, url):
    listing = nas("leaderboard", "run=killed", "sort=number", "top=0", "format=json", f"store.url={url}")
    columns = ("number", "arch", "decisions", "canonical", "seed", "status", "metrics", "reused_from", "epochs")
    return [{key: row[key] for key in columns} for row in json.loads(listing.stdout)]


def test_a_killed_search_ends_with_the_trials_of_an_uninterrupted_one(nas, tmp_path):
    whole, killed = f"sqlite:///{tmp_path}/whole.db", f"sqlite:///{tmp_path}/killed.db"
    moment = random.Random()
    for _ in range(5):  # a kill before the first trial or after the last proves nothing, so it is tried again
        for path in tmp_path.glob("killed.db*"):
            path.unlink()
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", *SEARCH, f"store.url={killed}"],
            cwd=tmp_path, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        last = moment.randint(1, TRIALS - 3)
        while process.poll() is None and stored_trials(tmp_path / "killed.db") < last:
            time.sleep(0.005)
        time.sleep(moment.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        stored = stored_trials(tmp_path / "killed.db")
        if process.returncode == -signal.SIGKILL and 0 < stored < TRIALS:
            break
    assert process.returncode == -signal.SIGKILL
    assert 0 < stored < TRIALS

    before = trials(nas, killed)
    assert len(before) == stored
    again = nas(*SEARCH, f"store.url={killed}")
    assert again.returncode == 0, again.stderr
    assert f"{plural(stored, 'trial')} stored; resuming after them" in again.stderr
    assert nas(*SEARCH, f"store.url={whole}").returncode == 0
    after = trials(nas, killed)
    assert after[:stored] == before
    assert len(after) == TRIALS
    assert after == trials(nas, whole)
