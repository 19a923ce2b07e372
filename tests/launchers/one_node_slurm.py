"""A SLURM of one node on this machine, for tests and for `experiments/reliability`: munged, slurmctld and slurmd.

    python tests/launchers/one_node_slurm.py FOLDER      # runs until it is interrupted; prints the line to export

It needs root and Debian's packages slurm-wlm and munge.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
START_SECONDS = 30
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
JobRequeue=1
KillWait=20
SlurmctldTimeout=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def is_installed() -> bool:
    """Whether a SLURM can be started here."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in PROGRAMS)


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A running SLURM; yields the environment variables that its clients need.

    Args:
        folder: Empty folder for its files.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder, host=platform.node(), controller=_port(), daemon=_port(), cores=os.cpu_count()
        )
    )
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    environment = {"SLURM_CONF": str(configuration)}
    started: list[subprocess.Popen[bytes]] = []
    commands = (
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration)],
    )  # fmt: skip
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("wb") as out:
                started.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out))
            time.sleep(1)
        _wait_until_idle(environment)
        try:
            yield environment
        finally:
            _end_jobs(environment)
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_jobs(environment: dict[str, str]) -> None:
    """Kill the jobs that a failed test has left; their processes would outlive the daemons."""
    variables = {**os.environ, **environment}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        subprocess.run(["scancel", "--me", "--full", "--signal=KILL"], env=variables, capture_output=True, check=False)
        listed = subprocess.run(["squeue", "--noheader"], env=variables, capture_output=True, text=True, check=False)
        if not listed.stdout.strip():
            return
        time.sleep(1)


def _wait_until_idle(environment: dict[str, str]) -> None:
    deadline, state = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        state = listed.stdout.strip() or listed.stderr.strip()
        if state == "idle":
            return
        time.sleep(0.5)
    raise RuntimeError(f"SLURM did not start: {state}")


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    with one_node_slurm(Path(sys.argv[1]).absolute()) as variables:
        print(*(f"export {name}={value}" for name, value in variables.items()), sep="\n", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
