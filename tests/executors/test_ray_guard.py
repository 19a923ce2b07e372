"""The guard of a local Ray cluster, without Ray: a child that would outlive its parent writes to its folder."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess, sys, time
from nas.executors.ray_guard import guarded

with guarded(sys.argv[1]), open(sys.argv[1] + "/log", "w") as log:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=log)
    print(child.pid, flush=True)
    if sys.argv[2] == "wait":
        time.sleep(600)
    own = open(sys.argv[1] + "/own", "w")  # as Ray's own log, which stays open
print("alive", flush=True)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("end", ["wait", "leave"])
def test_nothing_of_a_cluster_is_left_when_its_process_is_killed_or_ends(tmp_path, end):
    folder = tmp_path / "cluster"
    folder.mkdir()
    arguments = [sys.executable, "-c", PARENT, str(folder), end]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if end == "wait":
            parent.kill()
        else:
            assert parent.stdout.readline() == "alive\n"
    deadline = time.monotonic() + 20
    while (folder.exists() or is_running(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert not is_running(child)
