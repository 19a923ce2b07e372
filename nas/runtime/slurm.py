"""A job of SLURM that asks for its own requeue before its time limit."""

from __future__ import annotations

import os
import shutil
import subprocess

TIMEOUT_SECONDS = 30.0
"""Longest wait for an answer of SLURM, which kills the job soon."""


def requeue() -> str:
    """Ask SLURM to run this job again, if this process may decide that.

    The process of a launcher with its own requeue (submitit), and the further tasks of a job step, leave it alone.

    Returns:
        What happens next, as a sentence for the user.
    """
    job = os.environ.get("SLURM_JOB_ID")
    again = "run the same command again to resume"
    if not job or os.environ.get("SLURM_PROCID", "0") != "0":
        return again
    if "SUBMITIT_EXECUTOR" in os.environ:
        return "its launcher requeues it"
    scontrol = shutil.which("scontrol")
    if scontrol is None:
        return f"scontrol is not on PATH, so SLURM job {job} was not requeued; {again}"
    try:
        asked = subprocess.run(
            [scontrol, "requeue", job], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"SLURM job {job} was not requeued ({' '.join(str(error).split())}); {again}"
    if asked.returncode != 0:
        reason = " ".join(asked.stderr.split()) or f"scontrol ended with exit code {asked.returncode}"
        return f"SLURM job {job} was not requeued ({reason}); {again}"
    return f"SLURM job {job} is requeued, and resumes when it starts again"
