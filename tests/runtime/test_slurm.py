"""A job of SLURM asks for its requeue once, from the process that may decide it."""

import pytest

from nas.runtime import slurm


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A `scontrol` that notes its arguments, within job 7."""

    def make(script):
        program = tmp_path / "scontrol"
        program.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/asked\n{script}\n")
        program.chmod(0o755)
        for name in ("SLURM_PROCID", "SUBMITIT_EXECUTOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        return lambda: (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""

    return make


def test_a_job_is_requeued(scontrol):
    asked = scontrol("exit 0")
    assert slurm.requeue() == "SLURM job 7 is requeued, and resumes when it starts again"
    assert asked() == "requeue 7\n"


def test_a_refusal_of_slurm_is_passed_on(scontrol):
    scontrol("echo 'Requested operation is presently disabled' >&2; exit 1")
    expected = "SLURM job 7 was not requeued (Requested operation is presently disabled); run the same command again"
    assert slurm.requeue() == f"{expected} to resume"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SUBMITIT_EXECUTOR", "slurm", "its launcher requeues it"),
        ("SLURM_PROCID", "1", "run the same command again to resume"),
        ("SLURM_JOB_ID", "", "run the same command again to resume"),
        ("PATH", "/nowhere", "scontrol is not on PATH, so SLURM job 7 was not requeued; run the same command again"),
    ],
)
def test_only_the_process_of_the_batch_step_asks(scontrol, monkeypatch, name, value, sentence):
    asked = scontrol("exit 0")
    monkeypatch.setenv(name, value)
    assert slurm.requeue().startswith(sentence)
    assert asked() == ""
