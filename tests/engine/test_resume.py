"""A search killed at a random moment and run again ends as one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

from conftest import stored_trials

from nas.formatting import plural

TRIALS = 10
WORDS = [
    "search", "strategy=regularized_evolution", "strategy.population_size=3", "data=digits", f"budget.trials={TRIALS}",
    "run=killed", "seed=5", "trainer.threads=1", "trainer.train_images=400", "trainer.network.channels=4",
]  # fmt: skip


def trials(nas, url):
    listing = nas("leaderboard", "run=killed", "sort=number", "top=0", "format=json", f"store.url={url}")
    keep = ("number", "arch", "decisions", "canonical", "seed", "status", "metrics", "reused_from", "epochs")
    return [{key: row[key] for key in keep} for row in json.loads(listing.stdout)]


def test_a_killed_search_ends_as_if_it_had_not_been(nas, tmp_path):
    whole, killed = f"sqlite:///{tmp_path}/whole.db", f"sqlite:///{tmp_path}/killed.db"
    wait = random.Random()
    for _ in range(5):  # a kill that came too early or too late proves nothing; it is tried again
        for path in tmp_path.glob("killed.db*"):
            path.unlink()
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", *WORDS, f"store.url={killed}"],
            cwd=tmp_path, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wanted = wait.randint(1, TRIALS - 3)
        while process.poll() is None and stored_trials(tmp_path / "killed.db") < wanted:
            time.sleep(0.01)
        time.sleep(wait.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = stored_trials(tmp_path / "killed.db")
        if process.returncode == -signal.SIGKILL and 0 < done < TRIALS:
            break
    assert process.returncode == -signal.SIGKILL
    assert 0 < done < TRIALS

    before = trials(nas, killed)
    assert len(before) == done
    again = nas(*WORDS, f"store.url={killed}")
    assert again.returncode == 0
    assert f"{plural(done, 'trial')} stored; resuming after them" in again.stderr
    assert nas(*WORDS, f"store.url={whole}").returncode == 0
    after = trials(nas, killed)
    assert after[:done] == before
    assert len(after) == TRIALS
    assert after == trials(nas, whole)
