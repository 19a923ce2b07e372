"""Commands on a disk that is full at some moment: a small tmpfs, of which a file leaves only so much free."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import Ran, run_here
from counts import Counts, Result, compared
from workload import acknowledged, write_parts

from nas.errors import UserError
from nas.store.base import NoStore
from nas.store.by_url import store_at

MEBIBYTE = 2**20
PAGE = 4096
ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
TINY = ["data=digits", "trainer=tiny", "trainer.train_images=64", "trainer.valid_images=64", "trainer.epochs=2",
        "trainer.network={channels: 4, cells: 1}", "device=cpu", "progress=false"]  # fmt: skip
TRIALS = 60


def can_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of some bytes, mounted on a new folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "cellnas", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(disk: Path, free: int) -> Iterator[None]:
    """Fill a disk up to some free bytes, and free it at the end."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(PAGE, _free(disk) - free))
    try:
        yield
    finally:
        filler.unlink()


def _free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


class Searches:
    """`nas search` whose store and events are on the disk."""

    name = "nas search"

    def __init__(self, folder: Path) -> None:
        self.parts = write_parts(folder)
        self.file = folder / "acknowledged"

    def command(self) -> list[str]:
        return [
            "search", "--config-dir", str(self.parts), "space=tiny", "evaluator=scoring", "store=acknowledging",
            f"store.file={self.file}", "strategy=random", "duplicates=retrain", f"budget.trials={TRIALS}", "run=one",
            "device=cpu", "progress=false",
        ]  # fmt: skip

    def begin(self) -> None:
        self.file.unlink(missing_ok=True)

    def check_failed(self, folder: Path) -> Counts:
        """Every acknowledged trial is still there."""
        known = acknowledged(self.file)
        try:
            stored = store_at(f"sqlite:///{folder}/nas.db").trials("one")
        except NoStore:
            stored = []
        except UserError as error:
            if known or "is empty" not in str(error):
                return Counts(lost=len(known), unopened=1, notes=[str(error)])
            stored = []
        return Counts(lost=len(set(known) - {trial.number for trial in stored}))

    def check_finished(self, folder: Path, whole: Path) -> Counts:
        stored, expected = (store_at(f"sqlite:///{path}/nas.db").trials("one") for path in (folder, whole))
        counts = compared(stored, expected, acknowledged(self.file))
        counts.different += abs(len(expected) - len(stored))
        return counts


class Retrainings:
    """`nas retrain` whose checkpoint, result and store are on the disk."""

    name = "nas retrain"

    def __init__(self, folder: Path) -> None:
        pass

    def command(self) -> list[str]:
        return ["retrain", *TINY, f"arch={ARCH}", "out=trained"]

    def begin(self) -> None:
        pass

    def check_failed(self, folder: Path) -> Counts:
        """What is not finished is not there under its final name, or whole."""
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        return Counts(different=len(left), notes=[f"left: {name}" for name in left])

    def check_finished(self, folder: Path, whole: Path) -> Counts:
        from safetensors.torch import load_file

        first, second = (load_file(path / "trained" / "model.safetensors") for path in (folder, whole))
        if not all(first[name].equal(second[name]) for name in second):
            return Counts(different=1, notes=["the weights differ from those of a training that nothing disturbed"])
        return Counts(different=int(len(store_at(f"sqlite:///{folder}/nas.db").retrainings()) != 1))


class Exports(Retrainings):
    """`nas export`, whose folder is on the disk."""

    name = "nas export"

    def command(self) -> list[str]:
        return ["export", f"arch={ARCH}", "data=digits", "format=[genotype,state]", "images=16", "out=exported"]

    def check_failed(self, folder: Path) -> Counts:
        counts = super().check_failed(folder)
        if (folder / "exported").exists():
            counts.different += 1
            counts.notes.append("an export that failed left its folder")
        return counts

    def check_finished(self, folder: Path, whole: Path) -> Counts:
        names = [sorted(path.name for path in (parent / "exported").iterdir()) for parent in (folder, whole)]
        return Counts(different=int(names[0] != names[1]), notes=[str(names)] if names[0] != names[1] else [])


class Genotypes(Exports):
    """`nas export` of what needs no network, which takes a fraction of the time."""

    name = "nas export, genotype only"

    def command(self) -> list[str]:
        return ["export", f"arch={ARCH}", "data=digits", "format=genotype", "out=exported"]


KINDS: dict[str, Callable[[Path], Searches | Retrainings]] = {
    "search": Searches,
    "retrain": Retrainings,
    "export": Exports,
    "genotype": Genotypes,
}


def fill_disk(
    folder: Path, kind: str, times: int, *, seed: int | None = None, seconds: float = 3600.0, most: int | None = None
) -> Result:
    """Run a command on a disk that becomes full at a random moment, free the disk, and run the command again.

    Args:
        folder: Empty folder.
        kind: A key of `KINDS`.
        times: How often the disk must have been full.
        seed: Of the free space; None: other ones each time.
        seconds: Time after which the command is not started again.
        most: Largest free space, in bytes; None: what the command needs.
    """
    work = KINDS[kind](folder)
    moment, counts, full, started = random.Random(seed), Counts(), 0, time.monotonic()
    with small_disk(folder / "disk", 64 * MEBIBYTE) as disk:
        before = _free(disk)
        whole = disk / "whole"
        whole.mkdir()
        work.begin()
        ran = run_here(whole, *work.command())
        assert ran.code == 0, ran.err
        most = most or before - _free(disk)
        for attempt in range(10 * times):
            if full == times or time.monotonic() - started > seconds:
                break
            home = disk / f"attempt-{attempt}"
            home.mkdir()
            work.begin()
            with filled(disk, moment.randrange(0, most, PAGE)):
                ran = run_here(home, *work.command())
            counts += ran.check(0, 1)
            if ran.code:
                full += 1
                counts += _said(ran)
                counts += work.check_failed(home)
                ran = run_here(home, *work.command())
                counts += ran.check(0)
            if ran.code == 0:
                counts += work.check_finished(home, whole)
            shutil.rmtree(home)
    return Result(f"full disk, {work.name}", full, counts, "run again each time, to its end")


def _said(ran: Ran) -> Counts:
    """A full disk is named as the reason."""
    if any(word in ran.err for word in ("disk", "space")):
        return Counts()
    return Counts(tracebacks=1, notes=[f"a full disk was not named as the reason: {ran.err}"])
